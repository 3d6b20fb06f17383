"""The one part that is compiled, where there is a compiler; all else is in pyproject.toml."""

import numpy
from setuptools import Extension, setup

# Bits must be those of Python: no fused multiply-adds, and no pow(x, 2) that becomes x * x.
EXACT = ["-O2", "-ffp-contract=off", "-fno-builtin", "-fno-fast-math"]

setup(
    ext_modules=[
        Extension(
            "envs.metaworld._compiled",
            ["envs/metaworld/_compiled.c"],
            include_dirs=[numpy.get_include()],
            extra_compile_args=EXACT,
            optional=True,  # without a compiler the same is done in Python
        )
    ]
)
