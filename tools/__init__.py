"""A real ComfyUI with this pack in it: found or fetched, started and talked to; `nox -s demo` makes a clip with it."""
