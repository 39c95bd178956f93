"""What is measured along the final curve between two networks, and what the file says of it."""

from __future__ import annotations

from typing import Any

from langevin.core.system import Attributes

#: What is measured at each position of the final curve, and of the segment.
ALONG = ("energy", "train_error", "test_loss", "test_error", "pair_error")
#: Of these there are none where the data have no classes.
ERRORS = ("train_error", "test_error", "pair_error")


def profile_attributes(theirs: Attributes) -> dict[str, dict[str, Any]]:
    """Return the attributes of what is measured along the final curve."""
    about_curves: dict[str, dict[str, Any]] = {}
    distance = "root mean square distance per weight from the curve's"
    for way, where in (("curve", "the curve"), ("shortest", "the segment between the ends")):
        for name, about in theirs.items():
            about_curves[f"{way}_{name}"] = {**about, "long_name": f"{about['long_name']}, along {where}"}
        pair = f"test error of the ensemble of two, the first end and the point on {where}"
        if "test_error" in theirs:
            about_curves[f"{way}_pair_error"] = {**theirs["test_error"], "long_name": pair}
        name = "barrier" if way == "curve" else "shortest_barrier"
        height = f"barrier along {where}: highest training loss minus that of the higher end"
        words = {
            "": f"{height}, less the bias of a maximum of noisy means",
            "_bias": "bias of the barrier, from resampled examples; what was taken off",
            "_position": f"position of the highest training loss along {where}",
            "_refinement": "part of the barrier that a parabola through positions added",
            "_error": "standard error of the barrier over examples: half of its 68 % interval",
            "_low": "lower end of the barrier's 95 % interval over examples",
            "_high": "upper end of the barrier's 95 % interval over examples; an upper limit where the lower "
            "end is 0",
            "_resampled": "barrier of examples drawn with replacement, its bias not taken off; the same "
            "draws for all curves that were measured with the same examples",
        }
        about_curves |= {name + ending: {"long_name": said} for ending, said in words.items()}
        about_curves[name]["comment"] = "the estimate may be below 0 where there is no barrier"
    return about_curves | {
        "arc_length": {"long_name": "length of the curve from its first end, as a fraction of the whole"},
        "distance_from_start": {"long_name": f"{distance} first end"},
        "distance_from_end": {"long_name": f"{distance} last end"},
    }
