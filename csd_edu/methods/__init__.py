"""Methods: each in a file of its own, a function from a training step to its named loss terms, or a `Method`.

A line here makes a method known by its name to the command line, the report, the plots and the tables.
"""

from csd_edu.methods.csd import csd as csd
from csd_edu.methods.finetune import finetune as finetune
from csd_edu.methods.joint import joint as joint
from csd_edu.methods.lwf import lwf as lwf
from csd_edu.methods.method import AnyMethod, Card, Look, Method, Setting, Term, Terms, card_of, name_of
from csd_edu.methods.step import Step, View

NAMED: dict[str, AnyMethod] = {
    name_of(value): value for value in list(globals().values()) if not isinstance(value, type) and card_of(value)
}
"""The methods above by their names."""
