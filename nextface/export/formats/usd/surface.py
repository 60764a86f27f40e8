"""The material in USD: a UsdPreviewSurface that reads our maps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pxr import Gf, Sdf, Usd, UsdShade
from torch import Tensor

from nextface.export.head.normals import encoded_normals
from nextface.export.head.surface import under_fresnel
from nextface.person.reconstruction import Reconstruction
from nextface.scene import Material
from nextface.scene.colour import linear_to_srgb
from nextface.scene.reflectance import SPECULAR_RANGE

MAP_FILES = ("diffuse", "specular", "roughness", "normal")
_TRIPLES = {  # inputs of the surface that take three numbers
    "diffuse": ("diffuseColor", Sdf.ValueTypeNames.Color3f),
    "specular": ("specularColor", Sdf.ValueTypeNames.Color3f),
    "normal": ("normal", Sdf.ValueTypeNames.Normal3f),
}


def surface_maps(maps: Material, normals: Tensor) -> dict[str, np.ndarray]:
    """Values in [0, 1] for the files of MAP_FILES: diffuse is sRGB-encoded, specular is F0 / 0.08."""
    return {
        "diffuse": linear_to_srgb(under_fresnel(maps).diffuse[0].double().numpy()),
        "specular": (maps.specular[0] / SPECULAR_RANGE[1]).numpy().repeat(3, -1),
        "roughness": maps.roughness[0, ..., 0].numpy(),
        "normal": encoded_normals(normals),
    }


def add_material(stage: Usd.Stage, path: Sdf.Path, files: Mapping[str, str]) -> UsdShade.Material:
    """A material that reads the files of `surface_maps` by the primvar st."""
    material, surface = _surface(stage, path)
    reader = UsdShade.Shader.Define(stage, path.AppendChild("uv"))
    reader.CreateIdAttr("UsdPrimvarReader_float2")
    reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("st")
    place = reader.CreateOutput("result", Sdf.ValueTypeNames.Float2)
    for kind in MAP_FILES:
        texture = UsdShade.Shader.Define(stage, path.AppendChild(f"{kind}Map"))
        texture.CreateIdAttr("UsdUVTexture")
        texture.CreateInput("file", Sdf.ValueTypeNames.Asset).Set(Sdf.AssetPath(f"./{files[kind]}"))
        space = "sRGB" if kind == "diffuse" else "raw"
        texture.CreateInput("sourceColorSpace", Sdf.ValueTypeNames.Token).Set(space)
        for side in ("wrapS", "wrapT"):
            texture.CreateInput(side, Sdf.ValueTypeNames.Token).Set("clamp")
        texture.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(place)
        if kind == "specular":
            most = SPECULAR_RANGE[1]
            texture.CreateInput("scale", Sdf.ValueTypeNames.Float4).Set(Gf.Vec4f(most, most, most, 1))
        if kind == "normal":
            texture.CreateInput("scale", Sdf.ValueTypeNames.Float4).Set(Gf.Vec4f(2, 2, 2, 1))
            texture.CreateInput("bias", Sdf.ValueTypeNames.Float4).Set(Gf.Vec4f(-1, -1, -1, 0))
        if kind in _TRIPLES:
            name, taken = _TRIPLES[kind]
            triple = texture.CreateOutput("rgb", Sdf.ValueTypeNames.Float3)
            surface.CreateInput(name, taken).ConnectToSource(triple)
        else:
            value = texture.CreateOutput("r", Sdf.ValueTypeNames.Float)
            surface.CreateInput(kind, Sdf.ValueTypeNames.Float).ConnectToSource(value)
    return material


def add_coloured_material(
    stage: Usd.Stage, path: Sdf.Path, reconstruction: Reconstruction
) -> UsdShade.Material:
    """A material with the meshes' displayColor, and the mean F0 and roughness."""
    values = reconstruction.material or reconstruction.model_material()
    material, surface = _surface(stage, path)
    reader = UsdShade.Shader.Define(stage, path.AppendChild("colour"))
    reader.CreateIdAttr("UsdPrimvarReader_float3")
    reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("displayColor")
    colour = reader.CreateOutput("result", Sdf.ValueTypeNames.Float3)
    surface.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).ConnectToSource(colour)
    f0 = float(values.specular.mean())
    surface.CreateInput("specularColor", Sdf.ValueTypeNames.Color3f).Set(Gf.Vec3f(f0, f0, f0))
    surface.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(float(values.roughness.mean()))
    return material


def _surface(stage: Usd.Stage, path: Sdf.Path) -> tuple[UsdShade.Material, UsdShade.Shader]:
    """A material and its surface, which takes F0 as a colour."""
    material = UsdShade.Material.Define(stage, path)
    surface = UsdShade.Shader.Define(stage, path.AppendChild("surface"))
    surface.CreateIdAttr("UsdPreviewSurface")
    surface.CreateInput("useSpecularWorkflow", Sdf.ValueTypeNames.Int).Set(1)
    material.CreateSurfaceOutput().ConnectToSource(surface.ConnectableAPI(), "surface")
    return material, surface
