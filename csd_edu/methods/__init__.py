"""Methods: each a function from one training step to its named loss terms.

A method that trains on other images than those of the task at hand has, besides, a function
`training_tasks(task, n_tasks)` (see `joint`).
"""

from csd_edu.methods.csd import csd
from csd_edu.methods.finetune import finetune
from csd_edu.methods.joint import joint
from csd_edu.methods.lwf import lwf
from csd_edu.methods.step import Method, Step, View

NAMED: dict[str, Method] = {"finetune": finetune, "lwf": lwf, "csd": csd, "joint": joint}

__all__ = ["NAMED", "Method", "Step", "View", "csd", "finetune", "joint", "lwf"]
