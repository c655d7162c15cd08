"""What the pack uses of the node API, for the type checker: the host is not installed where types are checked."""

from . import io as io

class ComfyExtension:
    async def on_load(self) -> None: ...
    async def get_node_list(self) -> list[type[io.ComfyNode]]: ...
