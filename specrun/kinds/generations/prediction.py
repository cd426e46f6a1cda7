"""What a generation asks its base model for: as the spec says, or as its LoRAs were trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specrun.errors import FormatError
from specrun.kinds.generations.spec import GenerationSpec

Asked = tuple[str | None, bool | None]
"""Kind of prediction, and whether pictures begin with noise alone; None: what the base model's scheduler says."""


def asked_prediction(spec: GenerationSpec, told: Mapping[str, Mapping[str, Any]]) -> Asked:
    """told: lora.json of the LoRAs that were trained on this base model, by name.

    Raises FormatError: they were trained for different ones.
    """
    kinds = {str(one["prediction"]) for one in told.values() if one.get("prediction")} - {"flow"}
    zeros = {bool(one["zero_terminal_snr"]) for one in told.values() if one.get("zero_terminal_snr") is not None}
    if spec.prediction == "auto" and len(kinds) > 1:
        named = ", ".join(f"{name} for {one['prediction']}" for name, one in told.items() if one.get("prediction"))
        hint = "Write prediction: the one that the base model was made for."
        raise FormatError(f"The LoRAs were trained for different predictions: {named}.", hint=hint)
    if spec.zero_terminal_snr is None and len(zeros) > 1:
        message = "Some of the LoRAs were trained with zero_terminal_snr and some without."
        raise FormatError(message, hint="Write zero_terminal_snr: true or false.")
    kind = next(iter(kinds), None) if spec.prediction == "auto" else spec.prediction
    return kind, next(iter(zeros), None) if spec.zero_terminal_snr is None else spec.zero_terminal_snr
