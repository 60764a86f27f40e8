"""How far landmarks may be off together, and what is left of their offsets when that is known.

A detector does not err point by point: it moves whole brows, lips and jaws, draws every face towards those that
it has learned from, and the embedding of its points has a bias of its own. Where a model brings what was
measured of that (`nextface.models.face_model.LandmarkErrors`), offsets are whitened: what a common error could
have made counts little, what it could not counts much.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from nextface.fitting.terms.robust import pseudo_huber, pseudo_huber_weight
from nextface.models.face_model import LandmarkErrors
from nextface.scene import Camera

POINT_ERROR = 0.012  # standard deviation of a landmark's own error, as a fraction of the face's size
COMPARED = 0.75  # of measured errors, what is left where the detector has looked at a picture of the fit, too
INDEPENDENT_LANDMARKS = 100  # neighbouring landmarks err together: no set counts for more than this
OUTLIER = 0.02  # of the face's size, beyond which stage 2 counts a point's own offset linearly


@dataclass(frozen=True)
class LandmarkWhitening:
    """Turns landmark offsets in pixels into independent ones in standard deviations.

    Offsets have the covariance D + U U^T: D is diagonal and holds each point's own variance, the columns of U
    are the errors that many points make together. `residuals` multiplies offsets by a matrix W for which
    W^T W = (D + U U^T)^-1, so that the squared residuals sum up to the offsets' Mahalanobis distance.

    W first divides each offset by its own standard deviation (D^-1/2). Then it shrinks the part that a common
    error could explain: along each left singular vector P of D^-1/2 U, with singular value S, to
    (1 + S^2)^-1/2 of its length. So W = (I - P (1 - (1 + S^2)^-1/2) P^T) D^-1/2. Other square roots of the
    inverse would do as well; with this one a residual still belongs to one point, so that outliers are told
    point by point.
    """

    upright: Tensor  # [2, 2] from the photo's axes to the face's: right and down
    scale: Tensor  # [L] of a point's own offset: one over its standard deviation, 1 / pixels
    bias: Tensor  # [L, 2] of the detected points, pixels along the face's axes
    common: Tensor  # [2 L, M] orthonormal modes P
    kept: Tensor  # [M] what is left of them
    outlier: Tensor  # [L] standard deviations from which on a point is one
    weight: Tensor  # [] of a squared residual in stage 2

    @classmethod
    def of(
        cls,
        trust: Tensor,
        errors: LandmarkErrors | None,
        camera: Camera,
        face_size: float,
        compared: bool = False,
    ) -> LandmarkWhitening:
        """Of one photo's landmarks.

        Parameters
        ----------
        trust: [L] in the landmarks; 0 leaves one out.
        errors: what is known of the detector, or None: then errors are taken for independent.
        camera: with the head's pose, whose upright axis tells the face's in the photo.
        face_size: pixels.
        compared: whether the landmarks come from comparing two pictures of nearly the same face, in which the
            detector errs nearly alike.
        """
        remaining = COMPARED if compared else 1.0
        count = trust.sum().clamp(1e-9, INDEPENDENT_LANDMARKS)
        variance = POINT_ERROR**2 * trust.sum() / count
        bias, modes = trust.new_zeros(len(trust), 2), trust.new_zeros(2 * len(trust), 0)
        if errors is not None:
            modes = remaining * errors.modes.to(trust).flatten(0, 1)
            variance = variance + trust * (remaining * errors.spread.to(trust)).square()
            if not compared:
                bias = errors.bias.to(trust) * face_size
        scale = (trust / variance).sqrt()
        common, sizes, _ = torch.linalg.svd(scale.repeat_interleave(2)[:, None] * modes, full_matrices=False)
        kept = (1 + sizes.square()).rsqrt()
        weight = (100 * POINT_ERROR) ** 2 / count
        outlier = (OUTLIER * scale).clamp(min=1e-9)
        return cls(upright_axes(camera).to(trust), scale / face_size, bias, common, kept, outlier, weight)

    def to(self, dtype: torch.dtype, device: str) -> LandmarkWhitening:
        """The same in another precision, on another device."""
        return LandmarkWhitening(
            **{part.name: getattr(self, part.name).to(device, dtype) for part in fields(self)}
        )

    def residuals(self, offsets: Tensor) -> Tensor:
        """Standard deviations [L, 2] of offsets [L, 2] (pixels), the model's points less the detected ones."""
        return self._whitened(offsets @ self.upright.mT + self.bias)

    def slopes(self, motion: Tensor) -> Tensor:
        """Derivatives [L, 2, K] of `residuals` for derivatives [L, 2, K] of the offsets."""
        return self._whitened(self.upright @ motion)

    def term(self, offsets: Tensor) -> Tensor:
        """Stage 2's term of offsets [L, 2] (pixels).

        A robust mean of squares, in hundredths of the face's size where errors are taken for independent.
        """
        squares = self.residuals(offsets).square().sum(1)
        return self.weight * pseudo_huber(squares, self.outlier).sum()

    def rows(self, offsets: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        """Residuals [L, 2] and derivatives [L, 2, K], reweighted, whose squares are those of `term`."""
        residuals = self.residuals(offsets)
        root = (self.weight * pseudo_huber_weight(residuals.square().sum(1), self.outlier)).sqrt()
        return residuals * root[:, None], self.slopes(motion) * root[:, None, None]

    def _whitened(self, values: Tensor) -> Tensor:
        own = (values * self.scale.view(-1, *[1] * (values.dim() - 1))).flatten(0, 1)
        removed = (1 - self.kept).view(-1, *[1] * (own.dim() - 1)) * (self.common.mT @ own)
        return (own - self.common @ removed).view(values.shape)


def upright_axes(camera: Camera) -> Tensor:
    """[2, 2] from the photo's axes to those of the face in it: to its right in the picture, and down."""
    upwards = torch.eye(3)[None, 1:2].to(camera.rotation)
    x, y = torch.nn.functional.normalize(camera.rotate(upwards)[0, 0, :2], dim=0)
    return torch.stack([torch.stack([-y, x]), torch.stack([-x, -y])])
