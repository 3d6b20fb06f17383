"""The one part that is compiled, where there is a compiler; all else is in pyproject.toml."""

import hashlib
from pathlib import Path

import numpy
from setuptools import Extension, setup

CODE = "envs/metaworld/_compiled.c"
# Shows whether the installed build is of this source, for example after an update.
SOURCE = hashlib.sha256((Path(__file__).parent / CODE).read_bytes()).hexdigest()

setup(
    ext_modules=[
        Extension(
            "envs.metaworld._compiled",
            [CODE],
            include_dirs=[numpy.get_include()],
            define_macros=[("SOURCE", f'"{SOURCE}"')],
            # The bits of Python: no product is fused into a sum.
            extra_compile_args=["-O2", "-ffp-contract=off"],
            libraries=["m"],
            depends=["setup.py"],
            optional=True,  # without a compiler the same is done in Python
        )
    ]
)
