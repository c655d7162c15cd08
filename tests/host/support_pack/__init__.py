"""Nodes only the tests use, loaded into the host beside the pack."""

from .loader import TestNativeLoader
from .model import TestCompiled, TestCountFrames, TestTorchAttention
from .packs import TestControl, TestEasyLoader
from .tensors import TestPlainConditioning, TestSaveTensors
from .wrong import TestWrongThing

NODES = (
    TestCompiled,
    TestControl,
    TestCountFrames,
    TestEasyLoader,
    TestNativeLoader,
    TestPlainConditioning,
    TestSaveTensors,
    TestTorchAttention,
    TestWrongThing,
)
NODE_CLASS_MAPPINGS = {node.__name__: node for node in NODES}
