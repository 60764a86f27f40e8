// A .glb as three.js shows it by itself, for tools/compare_programs.py: its own loaders, materials and filtered light.
import { HalfFloatType, Matrix4, NoToneMapping, PMREMGenerator, PerspectiveCamera, Scene, WebGLRenderer } from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { HDRCubeTextureLoader } from "three/addons/loaders/HDRCubeTextureLoader.js";

/**
 * The picture as the address of a PNG. glb: an address; faces: those of the light's six faces, in three.js' order.
 * view, projection: 16 numbers row by row, from the file's metres to the camera (y up, looks along -z) and on to the
 * picture of so many pixels.
 */
export async function draw({ glb, faces, view, projection, width, height }) {
  const renderer = new WebGLRenderer({ antialias: true, alpha: true });
  renderer.setSize(width, height);
  renderer.toneMapping = NoToneMapping;
  const light = await new HDRCubeTextureLoader().setDataType(HalfFloatType).loadAsync(faces);
  const scene = new Scene();
  scene.environment = new PMREMGenerator(renderer).fromCubemap(light).texture;
  scene.add((await new GLTFLoader().loadAsync(glb)).scene);
  const camera = new PerspectiveCamera();
  camera.applyMatrix4(new Matrix4().set(...view).invert());
  camera.projectionMatrix.set(...projection);
  camera.projectionMatrixInverse.copy(camera.projectionMatrix).invert();
  renderer.render(scene, camera);
  return renderer.domElement.toDataURL("image/png");
}
