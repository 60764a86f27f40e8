"""A photo's scene in USD: the head with its expressions, its material, the light and the camera.

Metres, y up, in the head's frame (the face looks along +z). The head is a SkelRoot: expressions are blend
shapes, of which each part has those that move it, and the eyes' joints turn about their centres. The material
is a UsdPreviewSurface with F0 by the specular workflow. The dome light is the fitted light.
"""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from pxr import Gf, Sdf, Tf, Usd, UsdGeom, UsdLux, UsdShade, UsdSkel, UsdUtils, Vt

from nextface.errors import OutputError
from nextface.export.files import write_exr, write_png
from nextface.export.formats.usd.surface import MAP_FILES, add_coloured_material, add_material, surface_maps
from nextface.export.head.light import light_of_head
from nextface.export.head.normals import smooth_normals
from nextface.export.head.posable import METRES, PosableHead, PosablePart, posable_head
from nextface.export.head.surface import exported_maps
from nextface.person.reconstruction import Reconstruction
from nextface.system.atomic import replacing

LEAST_OFFSET = 1e-5  # metres: what moves less is left out of a blend shape
APERTURE = 36.0  # mm, the width of the camera's film; the length of its lens follows
RANGE = (0.01, 100.0)  # metres that the camera sees


def write_layer(
    path: Path, reconstruction: Reconstruction, photo: int = 0, resolution: int | None = None
) -> None:
    """Write NAME.usda, with the maps NAME_*.png and the light NAME_light.exr beside it."""
    files = _write_files(path.parent, f"{path.stem}_", reconstruction, photo, resolution)
    stage = _stage(path.stem, reconstruction, photo, files)
    with replacing(path) as temporary:
        temporary.write_text(stage.GetRootLayer().ExportToString(), encoding="utf-8")


def write_package(
    path: Path, reconstruction: Reconstruction, photo: int = 0, resolution: int | None = None
) -> None:
    """Write NAME.usdz, which holds everything."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        files = _write_files(folder, "", reconstruction, photo, resolution)
        stage = _stage(path.stem, reconstruction, photo, files)
        stage.GetRootLayer().Export(str(folder / "scene.usdc"))
        packed = folder / "packed.usdz"
        if not UsdUtils.CreateNewUsdzPackage(str(folder / "scene.usdc"), str(packed)):
            raise OutputError(f"{path} cannot be packed: USD does not say why. Is there room for it twice?")
        content = packed.read_bytes()
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@torch.no_grad()
def _write_files(
    folder: Path, prefix: str, reconstruction: Reconstruction, photo: int, resolution: int | None
) -> dict[str, str]:
    """Write maps and light; returns their names by what they are: "light" and, with UVs, those of MAP_FILES."""
    maps = exported_maps(reconstruction, resolution)
    names = {kind: f"{prefix}{kind}.png" for kind in MAP_FILES} if maps else {}
    if maps is not None:
        normals = smooth_normals(reconstruction, maps.diffuse.shape[1])
        for kind, values in surface_maps(maps, normals).items():
            write_png(folder / names[kind], values)
    names["light"] = f"{prefix}light.exr"
    write_exr(folder / names["light"], light_of_head(reconstruction, photo).radiance[0].cpu().numpy())
    return names


@torch.no_grad()
def _stage(stem: str, reconstruction: Reconstruction, photo: int, files: dict[str, str]) -> Usd.Stage:
    stage = Usd.Stage.CreateInMemory()
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    root = UsdGeom.Xform.Define(stage, f"/{re.sub(r'[^A-Za-z0-9_]', '_', 'face_' + stem)}")
    stage.SetDefaultPrim(root.GetPrim())
    Usd.ModelAPI(root.GetPrim()).SetKind("component")
    path = root.GetPath()
    head = posable_head(reconstruction, photo)
    colours = None
    if len(files) > 1:
        material = add_material(stage, path.AppendChild("skin"), files)
    else:
        material = add_coloured_material(stage, path.AppendChild("skin"), reconstruction)
        colours = (reconstruction.material or reconstruction.model_material()).diffuse[0]
    body = UsdSkel.Root.Define(stage, path.AppendChild("body"))
    skeleton, joints = _add_skeleton(stage, body.GetPath(), head)
    for part in head.parts:
        mesh = _add_part(stage, body.GetPath().AppendChild(part.name), part, colours)
        UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(material)
        binding = UsdSkel.BindingAPI.Apply(mesh.GetPrim())
        binding.CreateSkeletonRel().SetTargets([skeleton.GetPath()])
        binding.CreateJointIndicesPrimvar(constant=True, elementSize=1).Set([joints.get(part.name, 0)])
        binding.CreateJointWeightsPrimvar(constant=True, elementSize=1).Set([1.0])
        binding.CreateGeomBindTransformAttr().Set(Gf.Matrix4d(1))
    light = UsdLux.DomeLight.Define(stage, path.AppendChild("light"))
    light.CreateTextureFileAttr(Sdf.AssetPath(f"./{files['light']}"))
    light.CreateTextureFormatAttr(UsdLux.Tokens.latlong)
    _add_camera(stage, path.AppendChild("camera"), reconstruction, photo)
    return stage


def _add_skeleton(
    stage: Usd.Stage, path: Sdf.Path, head: PosableHead
) -> tuple[UsdSkel.Skeleton, dict[str, int]]:
    """A joint for the head and one for each part with a pivot, posed by the photo's expression."""
    turning = [part for part in head.parts if part.pivot.any()]
    names = ["root", *(f"root/{part.name}" for part in turning)]
    places = [Gf.Matrix4d(1)]
    places += [Gf.Matrix4d(1).SetTranslate(Gf.Vec3d(part.pivot.tolist())) for part in turning]
    skeleton = UsdSkel.Skeleton.Define(stage, path.AppendChild("skeleton"))
    skeleton.CreateJointsAttr(names)
    skeleton.CreateBindTransformsAttr(places)
    skeleton.CreateRestTransformsAttr(places)
    animation = UsdSkel.Animation.Define(stage, skeleton.GetPath().AppendChild("expression"))
    animation.CreateBlendShapesAttr(list(head.weights))
    animation.CreateBlendShapeWeightsAttr([float(weight) for weight in head.weights.values()])
    binding = UsdSkel.BindingAPI.Apply(skeleton.GetPrim())
    binding.CreateAnimationSourceRel().SetTargets([animation.GetPath()])
    return skeleton, {part.name: number for number, part in enumerate(turning, 1)}


def _add_part(
    stage: Usd.Stage, path: Sdf.Path, part: PosablePart, colours: torch.Tensor | None
) -> UsdGeom.Mesh:
    """A part's mesh and the blend shapes that move it; its vertices' colours [V, 3] where there are no maps."""
    mesh = UsdGeom.Mesh.Define(stage, path)
    points = (part.positions + part.pivot).numpy()
    mesh.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(points))
    mesh.CreateExtentAttr(
        Vt.Vec3fArray([Gf.Vec3f(*map(float, points.min(0))), Gf.Vec3f(*map(float, points.max(0)))])
    )
    mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(part.triangles.flatten().int().numpy()))
    mesh.CreateFaceVertexCountsAttr(Vt.IntArray(len(part.triangles), 3))
    mesh.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(part.normals.numpy()))
    mesh.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    primvars = UsdGeom.PrimvarsAPI(mesh)
    if part.uvs is not None:
        kind = Sdf.ValueTypeNames.TexCoord2fArray
        primvars.CreatePrimvar("st", kind, UsdGeom.Tokens.vertex).Set(Vt.Vec2fArray.FromNumpy(part.uvs.numpy()))
    if colours is not None:
        mesh.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex).Set(
            Vt.Vec3fArray.FromNumpy(colours[part.vertex].contiguous().numpy())
        )
    names, shapes = [], []
    for name, offset in part.offsets.items():
        moved = offset.norm(dim=1) >= LEAST_OFFSET
        if not moved.any():
            continue
        shape = UsdSkel.BlendShape.Define(stage, path.AppendChild(Tf.MakeValidIdentifier(name)))
        shape.CreateOffsetsAttr(Vt.Vec3fArray.FromNumpy(offset[moved].numpy()))
        shape.CreateNormalOffsetsAttr(Vt.Vec3fArray.FromNumpy(part.normal_offsets[name][moved].numpy()))
        shape.CreatePointIndicesAttr(Vt.IntArray.FromNumpy(moved.nonzero()[:, 0].int().numpy()))
        names.append(name)
        shapes.append(shape.GetPath())
    if names:
        binding = UsdSkel.BindingAPI.Apply(mesh.GetPrim())
        binding.CreateBlendShapesAttr(names)
        binding.CreateBlendShapeTargetsRel().SetTargets(shapes)
    return mesh


def _add_camera(stage: Usd.Stage, path: Sdf.Path, reconstruction: Reconstruction, photo: int) -> None:
    """The photo's camera: it looks along -z with y up, and its film is shifted where the photo was cropped."""
    camera = reconstruction.camera(photo)
    turn, place = camera.turn[0].double(), camera.translation[0].double()
    matrix = camera.intrinsics[0].double()
    to_head = turn.T @ torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    centre = -turn.T @ place * METRES
    transform = torch.eye(4, dtype=torch.float64)  # of rows, as USD multiplies them
    transform[:3, :3], transform[3, :3] = to_head.T, centre
    shown = UsdGeom.Camera.Define(stage, path)
    shown.AddTransformOp().Set(Gf.Matrix4d(transform.tolist()))
    pixel = APERTURE / camera.width  # mm
    high = pixel * float(matrix[0, 0] / matrix[1, 1])  # of a pixel, whose sides may differ
    shown.CreateFocalLengthAttr(float(matrix[0, 0]) * pixel)
    shown.CreateHorizontalApertureAttr(APERTURE)
    shown.CreateVerticalApertureAttr(camera.height * high)
    shown.CreateHorizontalApertureOffsetAttr((camera.width / 2 - float(matrix[0, 2])) * pixel)
    shown.CreateVerticalApertureOffsetAttr((float(matrix[1, 2]) - camera.height / 2) * high)
    shown.CreateClippingRangeAttr(Gf.Vec2f(*RANGE))
