"""A photo's skin as the statistical model draws it, and how every pixel changes with every parameter.

With geometry and view fixed, a pixel is its mean reflectance times what arrives there past the face's own
shadows (`nextface.fitting.transfer.light_transfer`). That gives its colour, and its derivatives by albedo
and light, exactly. When geometry moves, a fixed pixel sees another point of the surface, and the point turns:

    dI = (dR / dn) . dn - grad I . du

with the image's own gradient, the point's motion du on the image, the change dn of its normal, and the
reflected radiance R as a function of the normal alone. R is taken without shadows, with the project's own lobe
whatever the backend's, and scaled by how much of it arrives: shadows turn with the surface but do not move over
it. This is the deferred shading Jacobian of Thies et al., "Face2Face", CVPR 2016, section 4, with the light's
own response in place of three bands.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nextface.fitting.statistical.model_slopes import vertex_reflectance
from nextface.fitting.statistical.working_photo import WorkingPhoto
from nextface.fitting.terms.point_motion import image_motion, normal_motion, slopes_of_sum, turn_motion
from nextface.fitting.transfer.interreflection import Interreflection
from nextface.fitting.transfer.light_transfer import lobe_at, roughness_weights, transfer_vectors
from nextface.person.parameters import Parameters
from nextface.person.reconstruction import Reconstruction
from nextface.scene.lighting import to_light_frame
from nextface.scene.pixel_points import PixelPoints
from nextface.scene.prefiltered import shade
from nextface.system.tensor_store import TensorStore
from renderers.ray_casting import occlusion_of
from renderers.renderer import Transferable

LARGEST_BOUNCE = 2.0  # times what arrives directly: in deep shade slopes would follow nothing else
LARGEST_SHARE = 1.5  # of unshadowed radiance that may arrive: approximations of both differ where little does
CHANNELS = (3, 1, 1)  # diffuse, specular, roughness


class LinearImage:
    """The pixels of one photo that show the face, at one geometry.

    `pixel` [P] int64 is row * width + column of those drawn, `coverage` [height, width] how much of every
    pixel's square shows a surface.

    Parameters
    ----------
    state: the reconstruction of one photo (N = 1), drawn with its model's reflectance.
    photo: at the size that is drawn.
    wanted: [height, width] bool, pixels to draw.
    renderer: says what is reflected, and what casts shadows.
    directions: of light, over the sphere.
    store: where what arrives at the pixels is kept; nothing else of an image is large.
    between: what the surface sends to itself, at this geometry or one nearby.
    """

    @torch.no_grad()
    def __init__(
        self,
        state: Reconstruction,
        photo: WorkingPhoto,
        wanted: Tensor,
        renderer: Transferable,
        directions: int,
        store: TensorStore | None = None,
        between: Interreflection | None = None,
    ) -> None:
        scene = state.scene()
        self._scene = replace(scene, camera=photo.camera(scene.camera))
        self._model, self._bands = state.model, state.bands
        points = PixelPoints.of(self._scene, wanted)
        reached = occlusion_of(renderer, self._scene)
        vectors = transfer_vectors(points, state.bands, reached, renderer.specular_lobe, directions)
        self._vectors = (store or TensorStore()).keep(vectors.mul_(points.share))
        self.pixel, self.coverage, self._share = points.pixel, points.coverage, points.share
        self._between = between
        self._triangles = points.triangle.flatten().unique()
        self._normal = torch.nn.functional.normalize(points.normals.mean(1), dim=-1)
        self._towards = to_light_frame(-torch.nn.functional.normalize(points.positions.mean(1), dim=-1))
        material = state.model_material()
        self._mean = points.averages(replace(self._scene, material=material))
        self._lobes = state.light_lobes()[0].to(vectors)
        self._albedo, self._material = self._averaged(state.parameters.albedo)

    def colour(self, parameters: Parameters) -> Tensor:
        """Linear radiance [P, 3] under these parameters' albedo and light; the geometry stays what it was."""
        diffuse, specular, roughness = self._reflectance(parameters.albedo)
        response = self._response(parameters)
        plain, grazing = lobe_at(response, roughness_weights(roughness))
        colour = (diffuse.T * response[:, 0] + specular.T * plain + grazing).T
        if self._between is None:
            return colour
        return colour + self._between.whole(diffuse, specular) * self._bounced(parameters)

    def albedo_slopes(self, parameters: Parameters, by_vertex: Tensor) -> Tensor:
        """Derivatives [P, 3, A] of the colour by albedo coefficients.

        Parameters
        ----------
        by_vertex: [V, 5, A] of `nextface.fitting.statistical.model_slopes.reflectance_slopes`, here or nearby.
        """
        _, specular, roughness = self._reflectance(parameters.albedo)
        response = self._response(parameters)
        with torch.enable_grad():
            leaf = roughness.clone().requires_grad_()
            columns = roughness_weights(leaf).unbind(1)
            change = torch.cat([slopes_of_sum(column, leaf) for column in columns], 1)
            weights = torch.stack(columns, 1).detach()
        plain, _ = lobe_at(response, weights)
        plain_change, grazing_change = lobe_at(response, change)
        by_roughness = specular.T * plain_change + grazing_change
        slopes = self._mean(by_vertex.flatten(1)).unflatten(1, by_vertex.shape[1:])
        diffuse, specular_slope, roughness_slope = slopes.split(CHANNELS, 1)
        return (
            (response[:, 0].T + self._bounced(parameters))[..., None] * diffuse
            + plain.T[..., None] * specular_slope
            + by_roughness.T[..., None] * roughness_slope
        )

    def light_slopes(self, parameters: Parameters) -> Tensor:
        """Derivatives [3, P, LIGHT_LOBES] of every channel by the logarithms of its lobes' powers."""
        diffuse, specular, roughness = self._reflectance(parameters.albedo)
        vectors = self._vectors()
        plain, grazing = lobe_at(vectors, roughness_weights(roughness))
        glossy = specular.T * plain + grazing  # [bands^2, P]
        matt = diffuse.T
        if self._between is not None:  # what comes from the skin is taken to change as what comes directly
            direct = self._light(parameters).T @ vectors[:, 0]
            more = self._bounced(parameters).T / direct.clamp(min=1e-6)
            matt = matt * (1 + more.clamp(max=LARGEST_BOUNCE))
        transfer = matt[:, None] * vectors[:, 0] + glossy  # [3, bands^2, P]
        power = parameters.light[0].exp().T[:, None]  # [3, 1, LOBES]
        return transfer.mT @ self._lobes * power

    def geometry_slopes(self, parameters: Parameters, basis: Tensor, drawn: Tensor) -> Tensor:
        """Derivatives [P, 3, K + 7] of the colour by shape and by `nextface.fitting.terms.point_motion.POSE`.

        Parameters
        ----------
        basis: [V, 3, K] how vertices move with the coefficients, in model space.
        drawn: the colour [P, 3], whose differences between neighbouring pixels are the image's gradient.
        """
        mesh, camera = self._scene.mesh, self._scene.camera
        points, motion = self._mean(mesh.vertices[0]), self._mean(basis.flatten(1)).unflatten(1, (3, -1))
        on_image = image_motion(camera, points, motion)
        turning = turn_motion(camera, self._mean(mesh.normals[0]), self._normal_slopes(basis))
        return self._shading_slopes(parameters) @ turning - self._image_gradient(drawn) @ on_image

    def _normal_slopes(self, motion: Tensor) -> Tensor:
        """Change [P, 3, K] of the mean normals, in model space, as vertices move by `motion` [V, 3, K]."""
        mesh = self._scene.mesh
        seen = torch.zeros(mesh.vertices.shape[1], dtype=torch.bool, device=motion.device)
        seen[mesh.triangles[self._triangles]] = True
        around = mesh.triangles[seen[mesh.triangles].any(1)]
        return self._mean(normal_motion(mesh.vertices[0], around, motion).flatten(1)).unflatten(1, (3, -1))

    def _shading_slopes(self, parameters: Parameters) -> Tensor:
        """Derivatives [P, 3, 3] of the colour by the normal in the camera frame."""
        light = self._light(parameters)
        diffuse, specular, roughness = self._reflectance(parameters.albedo)
        normal, view = self._normal, self._towards
        with torch.enable_grad():
            leaf = normal.detach().requires_grad_()
            unshadowed = shade(light, to_light_frame(leaf), view, diffuse, specular, roughness)
            by_channel = [slopes_of_sum(channel, leaf) for channel in unshadowed.unbind(1)]
        unshadowed = unshadowed.detach()
        share = self.colour(parameters) / unshadowed.clamp(min=1e-6)
        slopes = torch.stack(by_channel, 1) * share.clamp(0, LARGEST_SHARE)[..., None]
        along = slopes @ normal[..., None]
        return slopes - along * normal[:, None]

    def _image_gradient(self, drawn: Tensor) -> Tensor:
        """Slopes [P, 3, 2] of the drawn image by column and row, from the neighbours that are drawn."""
        camera = self._scene.camera
        width, height = camera.width, camera.height
        image = drawn.new_zeros(height * width, 3).index_copy(0, self.pixel, drawn).view(height, width, 3)
        known = torch.zeros(height * width, dtype=torch.bool, device=drawn.device)
        known[self.pixel] = True
        known = known.view(height, width)
        slopes = []
        for axis in (1, 0):
            step = (image.roll(-1, axis) - image) * (known & known.roll(-1, axis))[..., None]
            index = [slice(None), slice(None)]
            index[axis] = slice(-1, None)
            step[tuple(index)] = 0  # the last column's neighbour is no neighbour
            there = (known & known.roll(-1, axis)).float()
            there[tuple(index)] = 0
            count = there + there.roll(1, axis)
            slopes.append((step + step.roll(1, axis)) / count.clamp(min=1)[..., None])
        return torch.stack(slopes, -1).flatten(0, 1)[self.pixel]

    def _light(self, parameters: Parameters) -> Tensor:
        return self._lobes @ parameters.light[0].exp()

    def _response(self, parameters: Parameters) -> Tensor:
        """What arrives [3, 1 + 2 LEVELS, P], by channel, lobe and pixel."""
        light = self._light(parameters)
        vectors = self._vectors()
        return (light.T @ vectors.flatten(1)).unflatten(1, vectors.shape[1:])

    def _bounced(self, parameters: Parameters) -> Tensor:
        """Radiance [P, 3] of white matt skin by what comes from other skin."""
        if self._between is None:
            return torch.zeros_like(self._material[:, :3])
        self._reflectance(parameters.albedo)
        diffuse, specular, _ = self._at_vertices.split(CHANNELS, 1)
        arriving = self._between.light(self._light(parameters), self._between.whole(diffuse, specular))
        return self._mean(arriving) * self._share[:, None]

    def _reflectance(self, albedo: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean diffuse albedo [P, 3], F0 [P, 1] and roughness [P, 1] of the pixels; the last ones are kept."""
        if albedo is not self._albedo:
            self._albedo, self._material = self._averaged(albedo)
        diffuse, specular, roughness = self._material.split(CHANNELS, 1)
        return diffuse, specular, roughness

    def _averaged(self, albedo: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients [1, A], and the mean reflectance [P, 5] of the pixels with them."""
        self._at_vertices = vertex_reflectance(self._model, albedo)[0]
        return albedo, self._mean(self._at_vertices)
