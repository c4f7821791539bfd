"""The compiled U-Net of `unet.cpp`."""

import ctypes
from functools import cache
from pathlib import Path

import numpy as np

from actor.policy.native.build import compiled

SOURCE = Path(__file__).with_name("unet.cpp")

FLOATS = np.ctypeslib.ndpointer(np.float32, flags="C_CONTIGUOUS")


@cache
def library() -> ctypes.CDLL:
    """The compiled `unet.cpp`, compiled at most once a machine (seconds).
    Raises NativeError: no compiler, or it failed."""
    loaded = compiled(SOURCE)
    number, handle, floats = ctypes.c_int, ctypes.c_void_p, FLOATS
    loaded.sampler_new.restype = handle
    loaded.sampler_new.argtypes = [number] * 2
    loaded.sampler_free.argtypes = [handle]
    loaded.sampler_value.argtypes = [handle, number, number]
    loaded.sampler_conv.argtypes = [handle, *[number] * 8, floats, floats, number]
    loaded.sampler_norm.argtypes = [handle, number, number, ctypes.c_float, floats, floats, number]
    loaded.sampler_copy.argtypes = [handle, *[number] * 4]
    loaded.sampler_run.argtypes = [handle, number, number, floats, number, *[floats] * 3, number, number]
    return loaded
