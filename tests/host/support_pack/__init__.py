"""Nodes only the tests use, loaded into the host beside the pack."""

from .loader import TestNativeLoader
from .tensors import TestPlainConditioning, TestSaveTensors

NODE_CLASS_MAPPINGS = {node.__name__: node for node in (TestNativeLoader, TestPlainConditioning, TestSaveTensors)}
