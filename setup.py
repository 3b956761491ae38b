"""What pyproject.toml can't say: all packages are found, and one more lies elsewhere, the saved runs of data/saved."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["csd_edu*"]), "csd_edu.saved_runs"],
    package_dir={"csd_edu.saved_runs": "data/saved"},
)
