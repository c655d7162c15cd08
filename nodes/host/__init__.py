"""Everything that knows the inside of ComfyUI."""
