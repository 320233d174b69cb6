"""Builds the one compiled part, the libiscsi binding; all other metadata is in pyproject.toml."""

from setuptools import setup

setup(cffi_modules=["src/qreplica/iscsi/initiator/_build.py:ffibuilder"])
