"""Scripts around the pack: finding and driving a ComfyUI, the demo, example pictures and checkpoints."""
