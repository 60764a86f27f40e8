"""A glTF document that grows: arrays and pictures become buffer views and accessors of one binary blob."""

from __future__ import annotations

import numpy as np
import pygltflib as gltf
from numpy.typing import NDArray

TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}
COMPONENTS = {
    np.dtype(np.float32): gltf.FLOAT,
    np.dtype(np.uint16): gltf.UNSIGNED_SHORT,
    np.dtype(np.uint32): gltf.UNSIGNED_INT,
}


class Document:
    """A glTF 2.0 document with one buffer."""

    def __init__(self, generator: str) -> None:
        self.gltf = gltf.GLTF2(asset=gltf.Asset(generator=generator), scene=0)
        self._blob = bytearray()
        self._zeros: dict[int, int] = {}

    def attribute(self, values: NDArray[np.float32]) -> int:
        """The accessor of values [P, 2 | 3 | 4] of vertices; bounds are told, which positions need."""
        view = self._view(values.astype(np.float32), gltf.ARRAY_BUFFER)
        return self._accessor(view, values.astype(np.float32), bounds=True)

    def triangles(self, corners: NDArray[np.int64]) -> int:
        """The accessor of triangles [F, 3]."""
        flat = smallest(corners.ravel())
        return self._accessor(self._view(flat, gltf.ELEMENT_ARRAY_BUFFER), flat[:, None], bounds=True)

    def offsets(self, values: NDArray[np.float32], least: float) -> int:
        """The accessor of a morph target's offsets [P, 3], sparse: those that are shorter than `least` are 0.

        The zeros have a buffer view, which all such accessors of as many vertices share, though the standard
        allows to leave it out: some loaders do not.
        """
        values = values.astype(np.float32)
        moved = np.flatnonzero(np.linalg.norm(values, axis=1) >= least)
        moved = (
            moved if len(moved) else np.zeros(1, np.int64)
        )  # there must be one; its offset is next to nothing
        kept = np.zeros_like(values)
        kept[moved] = values[moved]
        indices = smallest(moved)
        if len(values) not in self._zeros:
            self._zeros[len(values)] = self._view(np.zeros_like(values), gltf.ARRAY_BUFFER)
            self.gltf.bufferViews[-1].byteStride = values.itemsize * 3  # must be told of views that are shared
        number = self._accessor(self._zeros[len(values)], kept, bounds=True)
        self.gltf.accessors[number].sparse = gltf.Sparse(
            count=len(moved),
            indices=gltf.AccessorSparseIndices(
                bufferView=self._view(indices), componentType=COMPONENTS[indices.dtype]
            ),
            values=gltf.AccessorSparseValues(bufferView=self._view(kept[moved])),
        )
        return number

    def texture(self, name: str, png: bytes) -> gltf.TextureInfo:
        """A texture of a PNG, which ends at its border."""
        if not self.gltf.samplers:
            linear, mipmapped, end = gltf.LINEAR, gltf.LINEAR_MIPMAP_LINEAR, gltf.CLAMP_TO_EDGE
            self.gltf.samplers.append(gltf.Sampler(magFilter=linear, minFilter=mipmapped, wrapS=end, wrapT=end))
        self.gltf.images.append(gltf.Image(name=name, mimeType=gltf.IMAGEPNG, bufferView=self._view_of(png)))
        self.gltf.textures.append(gltf.Texture(name=name, sampler=0, source=len(self.gltf.images) - 1))
        return gltf.TextureInfo(index=len(self.gltf.textures) - 1)

    def binary(self) -> bytes:
        """The document as a .glb."""
        self.gltf.buffers = [gltf.Buffer(byteLength=len(self._blob))]
        self.gltf.set_binary_blob(bytes(self._blob))
        return b"".join(self.gltf.save_to_bytes())

    def _accessor(self, view: int, values: np.ndarray, bounds: bool) -> int:
        self.gltf.accessors.append(
            gltf.Accessor(
                bufferView=view,
                componentType=COMPONENTS[values.dtype],
                count=len(values),
                type=TYPES[values.shape[1]],
                min=values.min(0).tolist(),
                max=values.max(0).tolist(),
            )
        )
        return len(self.gltf.accessors) - 1

    def _view(self, values: np.ndarray, target: int | None = None) -> int:
        number = self._view_of(np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes())
        self.gltf.bufferViews[number].target = target
        return number

    def _view_of(self, data: bytes) -> int:
        self._blob += bytes(-len(self._blob) % 4)
        self.gltf.bufferViews.append(
            gltf.BufferView(buffer=0, byteOffset=len(self._blob), byteLength=len(data))
        )
        self._blob += data
        return len(self.gltf.bufferViews) - 1


def smallest(indices: NDArray[np.int64]) -> np.ndarray:
    """Indices in the smaller of the two types that hold them; 65535 restarts primitives and is not used."""
    return indices.astype(np.uint16 if indices.max() < 65535 else np.uint32)
