"""A person as a glTF 2.0 binary (.glb): what three.js, Blender, Unity's and Unreal's importers open.

Metres, y up, the face looks along +z. A root node holds a node for each part; those of eyes turn about their
centres. Every mesh has all expressions as morph targets, named in `extras.targetNames`, in one order; its
weights are the photo's expression. The material is metallic-roughness; KHR_materials_specular and
KHR_materials_ior say F0, so that it is the fitted one and grazing reflection still rises to 1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pygltflib as gltf
import torch
from torch import Tensor

from nextface.export.files import png
from nextface.export.formats.gltf.document import Document
from nextface.export.head.motion import HeadMotion
from nextface.export.head.normals import encoded_normals, smooth_normals
from nextface.export.head.posable import PosableHead, PosablePart, posable_head
from nextface.export.head.surface import INDEX_OF_REFRACTION, exported_maps, under_fresnel
from nextface.person.reconstruction import Reconstruction
from nextface.scene import Material
from nextface.scene.colour import linear_to_srgb
from nextface.scene.reflectance import SPECULAR_RANGE
from nextface.system.atomic import replacing

SPECULAR, IOR = "KHR_materials_specular", "KHR_materials_ior"
LEAST_OFFSET = 1e-5  # metres: shorter ones are left out of morph targets
LEAST_TURN = 1e-3  # of normals: a twentieth of a degree


@torch.no_grad()
def write_glb(
    path: Path,
    reconstruction: Reconstruction,
    photo: int = 0,
    resolution: int | None = None,
    motion: HeadMotion | None = None,
) -> None:
    """Write a person with the expression of one photo.

    Parameters
    ----------
    resolution: texels a side of the maps; None: as they were fitted.
    motion: what the head does; None: nothing.
    """
    document = Document("nextface")
    colours = _material(document, reconstruction, resolution)
    head = posable_head(reconstruction, photo)
    nodes = document.gltf.nodes
    for part in head.parts:
        _add_mesh(document, part, head, None if colours is None else colours[part.vertex])
        place = part.pivot.tolist() if part.pivot.any() else None
        nodes.append(gltf.Node(name=part.name, mesh=len(document.gltf.meshes) - 1, translation=place))
    nodes.append(gltf.Node(name=path.stem, children=list(range(len(nodes)))))
    if motion is not None:
        _animate(document, motion)
    document.gltf.scenes = [gltf.Scene(name=path.stem, nodes=[len(nodes) - 1])]
    content = document.binary()
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _animate(document: Document, motion: HeadMotion) -> None:
    """Let the root, which is the last node, move, and the expressions of all other nodes' meshes."""
    root = len(document.gltf.nodes) - 1
    weights = document.series(motion.weights.reshape(-1, 1))
    channels = [(node, "weights", weights) for node in range(root)]
    channels.append((root, "rotation", document.series(motion.turns)))
    channels.append((root, "translation", document.series(motion.places)))
    document.animate("film", document.series(motion.times[:, None]), channels)


def _add_mesh(document: Document, part: PosablePart, head: PosableHead, colours: Tensor | None) -> None:
    """Add one part's mesh, with its vertices' colours [P, 3] where there are no maps."""

    def attribute(values: Tensor | None) -> int | None:
        return None if values is None else document.attribute(values.float().numpy())

    uvs = (
        None if part.uvs is None else torch.stack([part.uvs[:, 0], 1 - part.uvs[:, 1]], 1)
    )  # v is down in glTF
    attributes = gltf.Attributes(
        POSITION=attribute(part.positions),
        NORMAL=attribute(part.normals),
        TANGENT=attribute(part.tangents),
        TEXCOORD_0=attribute(uvs),
        COLOR_0=attribute(colours),
    )
    targets = [
        gltf.Attributes(
            POSITION=document.offsets(part.offsets[name].numpy(), LEAST_OFFSET),
            NORMAL=document.offsets(part.normal_offsets[name].numpy(), LEAST_TURN),
        )
        for name in head.weights
    ]
    primitive = gltf.Primitive(
        attributes=attributes, indices=document.triangles(part.triangles.numpy()), material=0, targets=targets
    )
    weights = [round(weight, 6) for weight in head.weights.values()]
    names = {"targetNames": list(head.weights)}
    document.gltf.meshes.append(
        gltf.Mesh(name=part.name, primitives=[primitive], weights=weights, extras=names)
    )


def _material(document: Document, reconstruction: Reconstruction, resolution: int | None) -> Tensor | None:
    """Add the material; returns the vertices' colours [V, 3], linear, where the model has no UVs for maps."""
    maps = exported_maps(reconstruction, resolution)
    document.gltf.extensionsUsed = [SPECULAR, IOR]
    ior = {"ior": INDEX_OF_REFRACTION}
    if maps is None:
        values = under_fresnel(reconstruction.material or reconstruction.model_material())
        specular = float(values.specular.mean()) / SPECULAR_RANGE[1]
        rough = gltf.PbrMetallicRoughness(metallicFactor=0.0, roughnessFactor=float(values.roughness.mean()))
        extensions = {SPECULAR: {"specularColorFactor": [specular] * 3}, IOR: ior}
        document.gltf.materials = [
            gltf.Material(name="skin", pbrMetallicRoughness=rough, extensions=extensions)
        ]
        return values.diffuse[0]
    pictures = {name: png(values) for name, values in gltf_maps(maps).items()}
    bent = png(encoded_normals(smooth_normals(reconstruction, maps.diffuse.shape[1])))
    surface = gltf.PbrMetallicRoughness(
        metallicFactor=0.0,
        baseColorTexture=document.texture("baseColor", pictures["baseColor"]),
        metallicRoughnessTexture=document.texture("metallicRoughness", pictures["metallicRoughness"]),
    )
    coloured = document.texture("specularColor", pictures["specularColor"])
    extensions = {SPECULAR: {"specularColorTexture": {"index": coloured.index}}, IOR: ior}
    normals = gltf.NormalMaterialTexture(index=document.texture("normal", bent).index)
    document.gltf.materials = [
        gltf.Material(name="skin", pbrMetallicRoughness=surface, normalTexture=normals, extensions=extensions)
    ]
    return None


def gltf_maps(maps: Material) -> dict[str, np.ndarray]:
    """The maps [H, W, 3] as glTF stores them, in [0, 1]: sRGB-encoded but for metallicRoughness.

    metallicRoughness is 1 (no occlusion), roughness and 0 (no metal). specularColor is F0 over that of
    INDEX_OF_REFRACTION: KHR_materials_specular multiplies the two.
    """
    diffuse, specular, roughness = (
        values[0].double().numpy() for values in (under_fresnel(maps).diffuse, maps.specular, maps.roughness)
    )
    one = np.ones_like(roughness)
    return {
        "baseColor": linear_to_srgb(diffuse),
        "metallicRoughness": np.concatenate([one, roughness, 0 * one], -1),
        "specularColor": linear_to_srgb(specular / SPECULAR_RANGE[1]).repeat(3, -1),
    }
