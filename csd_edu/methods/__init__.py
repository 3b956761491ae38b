"""Methods: each in a file of its own, a function from a training step to its named loss terms, or a `Method`.

A line here makes a method known by its name to the command line, the report, the plots and the tables.
"""

from pathlib import Path

from csd_edu.methods.csd import csd as csd
from csd_edu.methods.csd_memory import CSDMemory as CSDMemory, csd_memory as csd_memory
from csd_edu.methods.csl import CSL as CSL, csl as csl
from csd_edu.methods.der import DER as DER, der as der
from csd_edu.methods.derpp import DERPP as DERPP, derpp as derpp
from csd_edu.methods.dm import DM as DM, dm as dm
from csd_edu.methods.er import ER as ER, er as er
from csd_edu.methods.fe import FE as FE, fe as fe
from csd_edu.methods.feature_distillation import feature_distillation as feature_distillation
from csd_edu.methods.finetune import finetune as finetune
from csd_edu.methods.frozen import Frozen as Frozen, frozen as frozen
from csd_edu.methods.gdumb import GDumb as GDumb, gdumb as gdumb
from csd_edu.methods.genifer import Genifer as Genifer, genifer as genifer
from csd_edu.methods.herding import Herding as Herding, herding as herding
from csd_edu.methods.joint import joint as joint
from csd_edu.methods.kd import KD as KD, kd as kd
from csd_edu.methods.labels_only import LabelsOnly as LabelsOnly, labels_only as labels_only
from csd_edu.methods.lwf import lwf as lwf
from csd_edu.methods.method import (
    AnyMethod as AnyMethod,
    Card as Card,
    Look as Look,
    Method as Method,
    Setting as Setting,
    Term as Term,
    Terms as Terms,
    card_of as card_of,
    name_of as name_of,
)
from csd_edu.methods.mmd import mmd as mmd
from csd_edu.methods.nncsl import NNCSL as NNCSL, nncsl as nncsl
from csd_edu.methods.paws import PAWS as PAWS, paws as paws
from csd_edu.methods.pixel_gan import PixelGAN as PixelGAN, pixel_gan as pixel_gan
from csd_edu.methods.random_images import RandomImages as RandomImages, random_images as random_images
from csd_edu.methods.step import Step as Step, View as View, Viewer as Viewer
from csd_edu.methods.supcon import supcon as supcon
from csd_edu.methods.xder import XDER as XDER, xder as xder
from csd_edu.own import module_of
from csd_edu.paths import given_path

NAMED: dict[str, AnyMethod] = {
    name_of(value): value for value in list(globals().values()) if not isinstance(value, type) and card_of(value)
}
"""The methods above by their names."""


def find(name: str) -> AnyMethod:
    """Return a method by its name, or the one of that name in a Python file: "csd", "path/to/file.py:mine".

    Raises:
        ValueError: if there is no such method; says which there are. If the file is no Python; says in which line.
        FileNotFoundError: if there is no such file.
    """
    if not isinstance(name, str):
        raise ValueError(f"method is {name!r}; expected one of {', '.join(NAMED)}, or path/to/file.py:name")
    path, colon, inside = name.rpartition(":")
    if not colon or not path.endswith(".py"):
        if name not in NAMED:
            raise ValueError(f"method is {name!r}; expected one of {', '.join(NAMED)}, or path/to/file.py:name")
        return NAMED[name]
    path = str(given_path(path, what="method"))
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}; expected path/to/file.py:name")
    found: AnyMethod | None = getattr(module_of(path), inside, None)
    if not callable(found):
        raise ValueError(
            f"{path} has no method {inside!r}; expected the name of a function or of a Method object in it"
        )
    return found
