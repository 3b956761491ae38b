"""What is found in a stream's images without any learning: the floor under every Recall@1."""

from __future__ import annotations

from csd_edu import models
from csd_edu.config import Config
from csd_edu.methods import Card, Look
from csd_edu.metrics import recall_at_k
from csd_edu.tasks import Stream
from csd_edu.train import fresh_network

PIXELS, UNTRAINED = "raw pixels", "untrained network"
_GREY = "#8A929B"
CARDS = {
    PIXELS: Card("Raw pixels", "The images themselves, as they are.", look=Look(_GREY, "asterisk-open")),
    UNTRAINED: Card("An untrained network", "A network before its first step.", look=Look(_GREY, "circle-open")),
}
"""How they are drawn beside methods: none of them is one."""


def recall_untaught(stream: Stream, config: Config) -> dict[str, float]:
    """Return the Recall@1 of raw pixels, and of a network before its first step, on a stream's test images.

    Args:
        stream: whose test images are searched, among each other and among all classes.
        config: names the network, and the seed of its weights.

    Returns:
        {"raw pixels": …, "untrained network": …}, both 0 to 1, by cosine as everywhere.
    """
    images, labels = stream.test()
    network = fresh_network(stream, config)
    features = {PIXELS: images.flatten(1).float(), UNTRAINED: models.embed(network, images)[0]}
    return {name: recall_at_k(of, labels, of, labels, exclude_self=True)[1] for name, of in features.items()}
