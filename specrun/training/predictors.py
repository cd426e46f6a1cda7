"""The predictor of a model, by its kind."""

from __future__ import annotations

from specrun.errors import FormatError
from specrun.model.work import Context, Made
from specrun.training.predictor import PredictionSettings, Predictor, ReadImage, read_model


def open_predictor(model: Made, settings: PredictionSettings, read: ReadImage, ctx: Context) -> Predictor:
    """read: as the images of the exports were read that the model was trained on.

    Raises FormatError: the model is of no known kind, or its folder is damaged.
    """
    described = read_model(model.folder)
    match described["kind"]:
        case "ultralytics":
            # Prepares and imports torch and ultralytics.
            from specrun.training.ultralytics.predictor import UltralyticsPredictor

            return UltralyticsPredictor(model.artifact("best"), described, settings, read, ctx)
        case "smp":
            # Imports torch and segmentation_models_pytorch.
            from specrun.training.smp.predictor import SmpPredictor

            predictor: Predictor = SmpPredictor(model.artifact("best"), described, settings, read, ctx)
            return predictor
        case kind:
            raise FormatError(f"{model.address}: a model of kind {kind} cannot predict.")
