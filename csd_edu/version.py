"""The version, for those who need no more than this of the package."""

__version__ = "0.1.0"
