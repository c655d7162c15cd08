from typing import Any

class Schema:
    def __init__(
        self,
        node_id: str,
        display_name: str | None = None,
        category: str = "sd",
        inputs: list[Any] = ...,
        outputs: list[Any] = ...,
        hidden: list[Any] = ...,
        description: str = "",
        search_aliases: list[str] = ...,
        **options: Any,
    ) -> None: ...

class NodeOutput:
    def __init__(self, *results: Any, ui: Any = None, block_execution: str | None = None) -> None: ...

class ComfyNode:
    hidden: Any
    @classmethod
    def define_schema(cls) -> Schema: ...

# Combo, Int, Float, Model, Latent, ...
def __getattr__(name: str) -> Any: ...
