"""Opens a reconstructed face in Blender (3.4 or newer) with its camera, light and material, for Cycles.

    blender --python open_scene.py                                          look at it
    blender --background --python open_scene.py -- --render picture.png     draw it
    blender --background --python open_scene.py -- --save face.blend        keep it

Further words after `--`: --samples N (light paths a pixel, 256 by default), --threads N. The scene is in metres
with z up, the face looks along -y. It needs nothing but the files beside it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import bpy
from mathutils import Matrix

HERE = Path(__file__).resolve().parent
METRES = 1e-3  # a millimetre
FILM = 36.0  # mm, the width of the camera's film; the length of its lens follows
TO_BLENDER = Matrix(((1, 0, 0, 0), (0, 0, -1, 0), (0, 1, 0, 0), (0, 0, 0, 1)))  # y up to z up


def main() -> None:
    """Build the scene, then draw or save it if that was asked for."""
    words = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    parser = argparse.ArgumentParser(prog="blender --python open_scene.py --")
    parser.add_argument("--render", type=Path, metavar="PICTURE.png")
    parser.add_argument("--save", type=Path, metavar="FILE.blend")
    parser.add_argument("--samples", type=int, default=256, metavar="N")
    parser.add_argument("--threads", type=int, default=0, metavar="N")
    wanted = parser.parse_args(words)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    head = add_head()
    head.data.materials.clear()
    head.data.materials.append(skin())
    described = json.loads((HERE / "scene.json").read_text(encoding="utf-8"))
    add_camera(scene, described)
    add_light(scene)
    set_up_cycles(scene, described["maxBounces"], wanted.samples, wanted.threads)
    if wanted.save:
        bpy.ops.wm.save_as_mainfile(filepath=str(wanted.save.resolve()))
    if wanted.render:
        scene.render.filepath = str(wanted.render.resolve())
        bpy.ops.render.render(write_still=True)


def add_head() -> Any:
    """The mesh, turned to z up and scaled to metres."""
    bpy.ops.wm.obj_import(filepath=str(HERE / "head.obj"))
    head = bpy.context.selected_objects[0]
    head.name = "head"
    head.matrix_world = TO_BLENDER @ Matrix.Scale(METRES, 4)
    return head


def skin() -> Any:
    """A Lambertian lobe and a GGX lobe with F0, which take no light from each other, as it was fitted."""
    material = bpy.data.materials.new("skin")
    material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    diffuse = tree.nodes.new("ShaderNodeBsdfDiffuse")
    tree.links.new(picture(tree, "diffuse.png", "sRGB"), diffuse.inputs["Color"])
    gloss = tree.nodes.new("ShaderNodeBsdfPrincipled")
    gloss.inputs["Base Color"].default_value = (0, 0, 0, 1)
    strength = "Specular" if "Specular" in gloss.inputs else "Specular IOR Level"  # from Blender 4 on
    gloss.inputs["IOR"].default_value = 1.5  # what the specular input is relative to, from Blender 4 on
    tree.links.new(picture(tree, "specular.png", "Non-Color"), gloss.inputs[strength])
    tree.links.new(picture(tree, "roughness.png", "Non-Color"), gloss.inputs["Roughness"])
    both = tree.nodes.new("ShaderNodeAddShader")
    for lobe, place in ((diffuse, 0), (gloss, 1)):
        tree.links.new(lobe.outputs["BSDF"], both.inputs[place])
    surface = tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(both.outputs["Shader"], surface.inputs["Surface"])
    return material


def picture(tree: Any, name: str, space: str) -> Any:
    """The colours of a map."""
    texture = tree.nodes.new("ShaderNodeTexImage")
    texture.image = bpy.data.images.load(str(HERE / name))
    texture.image.colorspace_settings.name = space
    texture.extension = "EXTEND"
    return texture.outputs["Color"]


def add_camera(scene: Any, told: dict[str, Any]) -> None:
    """The photo's camera. Its film is shifted where the photo was cropped."""
    turn, place, matrix = Matrix(told["headToCamera"]), told["translation"], told["K"]
    to_head = (turn.transposed() @ Matrix.Diagonal((1, -1, -1))).to_4x4()
    to_head.translation = -(turn.transposed() @ Matrix.Translation(place).translation) * METRES
    width, height = told["width"], told["height"]
    lens = bpy.data.cameras.new("photo")
    lens.sensor_fit, lens.sensor_width = "HORIZONTAL", FILM
    lens.lens = matrix[0][0] * FILM / width
    lens.shift_x = (width / 2 - matrix[0][2]) / width
    lens.shift_y = (matrix[1][2] - height / 2) / width * matrix[0][0] / matrix[1][1]
    lens.clip_start, lens.clip_end = 0.01, 100
    camera = bpy.data.objects.new("photo", lens)
    camera.matrix_world = TO_BLENDER @ to_head
    scene.collection.objects.link(camera)
    scene.camera = camera
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = (
        width,
        height,
        100,
    )
    tall = matrix[0][0] / matrix[1][1]  # a pixel's height over its width
    scene.render.pixel_aspect_x, scene.render.pixel_aspect_y = max(1, 1 / tall), max(1, tall)


def add_light(scene: Any) -> None:
    """The fitted light. Blender has +x in the centre column of maps, ours where the face looks, which is -y."""
    world = bpy.data.worlds.new("light")
    world.use_nodes = True
    scene.world = world
    tree = world.node_tree
    place = tree.nodes.new("ShaderNodeTexCoord")
    turn = tree.nodes.new("ShaderNodeMapping")
    turn.inputs["Rotation"].default_value = (0, 0, math.pi / 2)
    radiance = tree.nodes.new("ShaderNodeTexEnvironment")
    radiance.image = bpy.data.images.load(str(HERE / "light.exr"))
    tree.links.new(place.outputs["Generated"], turn.inputs["Vector"])
    tree.links.new(turn.outputs["Vector"], radiance.inputs["Vector"])
    tree.links.new(radiance.outputs["Color"], tree.nodes["Background"].inputs["Color"])


def set_up_cycles(scene: Any, bounces: int, samples: int, threads: int) -> None:
    """Reflections, background and sRGB as the reconstruction was drawn with."""
    scene.render.engine = "CYCLES"
    scene.cycles.samples = samples
    scene.cycles.use_adaptive_sampling = scene.cycles.use_denoising = False
    scene.cycles.max_bounces = bounces - 1
    scene.cycles.pixel_filter_type = "BOX"
    scene.cycles.filter_width = 1.0
    scene.render.film_transparent = True
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGBA"
    scene.view_settings.view_transform = "Standard"
    if threads:
        scene.render.threads_mode, scene.render.threads = "FIXED", threads


main()
