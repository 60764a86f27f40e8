"use strict";
// The head in 3D. World space is the light frame of the photo that is shown, in mm: its camera stands at the origin and
// looks along -z. Light is spherical harmonics; what of it reaches a vertex past the head's own shadows was summed up
// when the page was made, so a new light costs products only. Skin is diffuse / pi plus a GGX lobe, as in the ray tracer;
// the lobe is one look-up in a light that was filtered for a few values of roughness (nextface/scene/prefiltered.py).

const FILTER = { width: 64, height: 32, levels: 8 }; // of the map that holds the filtered light
const MARGIN = 0.8; // of the canvas that the photo's frame takes at the photo's view
const MODES = ["skin", "clay", "diffuse", "specular", "roughness", "visibility", "uncertainty"];

const VERTEX_SHADER = `
  attribute vec3 irradiance;
  attribute float share;
  attribute float deviation;
  varying vec3 vIrradiance, vNormal, vPlace;
  varying vec2 vUv;
  varying float vShare, vDeviation;
  void main() {
    vec4 place = modelMatrix * vec4(position, 1.0);
    vPlace = place.xyz;
    vNormal = mat3(modelMatrix) * normal;
    vUv = uv;
    vIrradiance = irradiance;
    vShare = share;
    vDeviation = deviation;
    gl_Position = projectionMatrix * viewMatrix * place;
  }`;

const FRAGMENT_SHADER = `
  uniform sampler2D diffuseMap, specularMap, roughnessMap, visibilityMap, lobe, filtered;
  uniform int mode;
  uniform vec3 used; // 1 where the diffuse, specular, roughness map is used, else its mean
  uniform vec3 meanDiffuse;
  uniform vec2 meanOthers, roughnessRange, specularRange;
  uniform float exposure, tableSize, largestDeviation;
  varying vec3 vIrradiance, vNormal, vPlace;
  varying vec2 vUv;
  varying float vShare, vDeviation;
  const float PI = 3.141592653589793;

  vec3 level(vec2 at, float number) {
    float row = clamp(at.y * ${FILTER.height}.0, 0.5, ${FILTER.height}.0 - 0.5) + number * ${FILTER.height}.0;
    return texture2D(filtered, vec2(at.x, row / ${FILTER.height * FILTER.levels}.0)).rgb;
  }
  vec3 lightFrom(vec3 direction, float roughness) {
    vec2 at = vec2(atan(direction.x, -direction.z) / (2.0 * PI), acos(clamp(direction.y, -1.0, 1.0)) / PI);
    float place = (roughness - roughnessRange.x) / (roughnessRange.y - roughnessRange.x) * ${FILTER.levels - 1}.0;
    float below = min(floor(place), ${FILTER.levels - 2}.0);
    return mix(level(at, below), level(at, below + 1.0), place - below);
  }
  vec3 scale(float share) { // dark blue, green, yellow
    return mix(mix(vec3(0.06, 0.0, 0.12), vec3(0.02, 0.3, 0.28), min(2.0 * share, 1.0)),
               vec3(0.98, 0.8, 0.02), max(2.0 * share - 1.0, 0.0));
  }
  vec3 encoded(vec3 linear) {
    vec3 low = 12.92 * linear, high = 1.055 * pow(max(linear, 1e-6), vec3(1.0 / 2.4)) - 0.055;
    return mix(low, high, step(0.0031308, linear));
  }
  void main() {
    vec3 diffuse = mix(meanDiffuse, texture2D(diffuseMap, vUv).rgb, used.x);
    float specular = mix(meanOthers.x, texture2D(specularMap, vUv).r, used.y);
    float roughness = mix(meanOthers.y, texture2D(roughnessMap, vUv).r, used.z);
    if (mode == 2) { gl_FragColor = vec4(encoded(diffuse), 1.0); return; }
    if (mode == 3) { gl_FragColor = vec4(vec3(specular), 1.0); return; }
    if (mode == 4) { gl_FragColor = vec4(vec3(roughness), 1.0); return; }
    if (mode == 5) { gl_FragColor = vec4(texture2D(visibilityMap, vUv).rgb, 1.0); return; }
    if (mode == 6) { gl_FragColor = vec4(encoded(scale(min(vDeviation / largestDeviation, 1.0))), 1.0); return; }
    if (mode == 1) {
      gl_FragColor = vec4(encoded(clamp(exposure * 0.4 / PI * max(vIrradiance, 0.0), 0.0, 1.0)), 1.0);
      return;
    }
    float f0 = mix(specularRange.x, specularRange.y, specular);
    roughness = clamp(roughness, roughnessRange.x, roughnessRange.y);
    vec3 normal = normalize(vNormal), view = normalize(cameraPosition - vPlace);
    float along = clamp(dot(normal, view), 0.001, 1.0);
    vec2 entry = vec2(sqrt(along), (roughness - roughnessRange.x) / (roughnessRange.y - roughnessRange.x));
    vec4 sums = texture2D(lobe, (entry * (tableSize - 1.0) + 0.5) / tableSize);
    vec3 mean = normalize(sums.x * (2.0 * along * normal - view) + sums.y * normal);
    vec3 glossy = (f0 * sums.z + sums.w) * max(lightFrom(mean, roughness), 0.0) * vShare;
    vec3 radiance = diffuse / PI * max(vIrradiance, 0.0) + glossy;
    gl_FragColor = vec4(encoded(clamp(exposure * radiance, 0.0, 1.0)), 1.0);
  }`;

const BACK_SHADER = "void main() { gl_FragColor = vec4(vec3(0.0), 1.0); }";

/** The arrays of a packed block by name, in their units. */
async function unpacked(numbers) {
  const bytes = Uint8Array.from(atob(numbers.block), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  const arrays = {};
  for (const [name, { type, offset, length, step }] of Object.entries(numbers.arrays)) {
    const steps = new globalThis[type](buffer, offset, length);
    arrays[name] = step === 1 ? steps : Float32Array.from(steps, (value) => value * step);
  }
  return arrays;
}

class HeadViewer {
  /**
   * numbers: what nextface/export/report/head.py tells. arrays: its unpacked block. images: decoded <img> elements of
   * the maps by kind. view: called with true or false when the camera comes to or leaves the photo's view, with
   * neither when the canvas has another size, and with this viewer.
   */
  constructor(canvas, numbers, arrays, images, view) {
    this.canvas = canvas;
    this.numbers = numbers;
    this.arrays = arrays;
    this.onView = view;
    this.bands = numbers.bands;
    this.vertexCount = arrays.vertices.length / 3;
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: true, alpha: true });
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
    this.scene = new THREE.Scene();
    this.head = new THREE.Group();
    this.head.matrixAutoUpdate = false;
    this.scene.add(this.head);
    this.camera = new THREE.PerspectiveCamera();
    this.camera.updateProjectionMatrix = () => {}; // it is the photo's; see _project
    this.orbiting = new THREE.PerspectiveCamera(); // looks at the head; the photo's camera looks past it
    this.beside = new THREE.Quaternion();
    this.material = this._material(images);
    this.geometry = this._geometry();
    // The inside is black, and drawn a little behind itself: else it would shine through along outlines.
    const inside = new THREE.ShaderMaterial({
      vertexShader: VERTEX_SHADER, fragmentShader: BACK_SHADER, side: THREE.BackSide,
      polygonOffset: true, polygonOffsetFactor: 2, polygonOffsetUnits: 2,
    });
    for (const material of [this.material, inside]) {
      const mesh = new THREE.Mesh(this.geometry, material);
      mesh.frustumCulled = false;
      this.head.add(mesh);
    }
    this.transferBands = numbers.transferBands;
    this.light = Harmonics.even([1, 1, 1], this.bands);
    this.showPhoto(0);
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  _material(images) {
    const texture = (image, coloured) => {
      const made = new THREE.Texture(image);
      if (coloured) made.colorSpace = THREE.SRGBColorSpace;
      made.minFilter = THREE.LinearMipmapLinearFilter;
      made.anisotropy = this.renderer.capabilities.getMaxAnisotropy();
      made.needsUpdate = true;
      return made;
    };
    const halves = (values) => Uint16Array.from(values, THREE.DataUtils.toHalfFloat);
    const size = this.numbers.tableSize;
    const lobe = new THREE.DataTexture(
      halves(this.arrays.lobe), size, size, THREE.RGBAFormat, THREE.HalfFloatType,
    );
    this.filtered = new THREE.DataTexture(
      new Uint16Array(4 * FILTER.width * FILTER.height * FILTER.levels),
      FILTER.width, FILTER.height * FILTER.levels, THREE.RGBAFormat, THREE.HalfFloatType,
    );
    this.filtered.wrapS = THREE.RepeatWrapping;
    for (const table of [lobe, this.filtered]) {
      table.minFilter = table.magFilter = THREE.LinearFilter;
      table.needsUpdate = true;
    }
    const means = this.numbers.means;
    const uniforms = {
      diffuseMap: texture(images.diffuse, true),
      specularMap: texture(images.specular, false),
      roughnessMap: texture(images.roughness, false),
      visibilityMap: texture(images.visibility ?? images.diffuse, false),
      lobe,
      filtered: this.filtered,
      mode: 0,
      used: new THREE.Vector3(1, 1, 1),
      meanDiffuse: new THREE.Vector3(...means.diffuse),
      meanOthers: [means.specular, means.roughness],
      roughnessRange: this.numbers.roughnessRange,
      specularRange: this.numbers.specularRange,
      exposure: 1,
      tableSize: size,
      largestDeviation: this.numbers.largestDeviation,
    };
    for (const name of Object.keys(uniforms)) uniforms[name] = { value: uniforms[name] };
    return new THREE.ShaderMaterial({
      uniforms, vertexShader: VERTEX_SHADER, fragmentShader: FRAGMENT_SHADER,
    });
  }

  _geometry() {
    const { arrays } = this;
    const corners = arrays.cornerVertex.length;
    const geometry = new THREE.BufferGeometry();
    const add = (name, values, size) => geometry.setAttribute(name, new THREE.BufferAttribute(values, size));
    add("position", new Float32Array(3 * corners), 3);
    add("normal", new Float32Array(3 * corners), 3);
    add("uv", Float32Array.from(arrays.uvs), 2);
    add("irradiance", new Float32Array(3 * corners), 3);
    add("share", new Float32Array(corners), 1);
    add("deviation", this._spread(arrays.deviation ?? new Float32Array(this.vertexCount), 1), 1);
    geometry.setIndex(new THREE.BufferAttribute(arrays.triangles, 1));
    this.triangles = arrays.triangles.map((corner) => arrays.cornerVertex[corner]);
    this.vertices = new Float32Array(3 * this.vertexCount);
    this.normals = new Float32Array(3 * this.vertexCount);
    this.normalBasis = new Float32Array(this.vertexCount * this.numbers.transferBands ** 2);
    return geometry;
  }

  /** Values of vertices at the corners. */
  _spread(values, size, out = new Float32Array(size * this.arrays.cornerVertex.length)) {
    const { cornerVertex } = this.arrays;
    for (let corner = 0; corner < cornerVertex.length; corner++)
      for (let i = 0; i < size; i++) out[size * corner + i] = values[size * cornerVertex[corner] + i];
    return out;
  }

  /** Show the head in a photo's pose, expression and light, from the photo's camera. */
  showPhoto(number) {
    this.photo = this.numbers.photos[number];
    const { turn, translation } = this.photo;
    this.turn = [...turn[0], ...turn[1].map((value) => -value), ...turn[2].map((value) => -value)];
    const [a, b, c, d, e, f, g, h, i] = this.turn;
    this.origin = new THREE.Vector3(translation[0], -translation[1], -translation[2]);
    this.head.matrix.set(a, b, c, this.origin.x, d, e, f, this.origin.y, g, h, i, this.origin.z, 0, 0, 0, 1);
    this.head.matrixWorldNeedsUpdate = true;
    this.setExpression(this.photo.expression);
    this.showPhotosView();
  }

  /** The camera back to where the photo was taken. */
  showPhotosView() {
    this.controls?.dispose();
    this.orbiting.position.set(0, 0, 0);
    this.orbiting.quaternion.identity();
    this.controls = new THREE.OrbitControls(this.orbiting, this.canvas);
    this.controls.enablePan = false;
    this.controls.target.copy(this.origin);
    const distance = this.origin.length();
    this.controls.minDistance = distance / 4;
    this.controls.maxDistance = distance * 4;
    this.controls.update();
    this.beside.copy(this.orbiting.quaternion).invert();
    this.controls.addEventListener("change", () => {
      this.onView(false, this);
      this.draw();
    });
    this.onView(true, this);
    this.resize();
  }

  /** Turn around the head by angles (radians), and come nearer by a factor. */
  orbit(right, up, nearer = 1) {
    const offset = this.orbiting.position.clone().sub(this.origin);
    const radius = Math.min(Math.max(offset.length() / nearer, this.controls.minDistance), this.controls.maxDistance);
    const azimuth = Math.atan2(offset.x, offset.z) + right;
    const height = Math.asin(offset.y / offset.length()) + up;
    const level = Math.cos(Math.min(Math.max(height, -1.5), 1.5)) * radius;
    const y = Math.sin(Math.min(Math.max(height, -1.5), 1.5)) * radius;
    offset.set(level * Math.sin(azimuth), y, level * Math.cos(azimuth));
    this.orbiting.position.copy(this.origin).add(offset);
    this.controls.update();
  }

  /** values: coordinates of the expression, in the order of `numbers.expressions`. */
  setExpression(values) {
    this.expression = Array.from(values);
    const { arrays, vertices } = this;
    vertices.set(arrays.vertices);
    let entry = 0;
    this.numbers.expressions.forEach(({ rest, high }, number) => {
      const share = (this.expression[number] - rest) / (high - rest);
      const end = entry + arrays.movedCounts[number];
      if (Math.abs(share) > 1e-6)
        for (let k = entry; k < end; k++)
          for (let i = 0; i < 3; i++) vertices[3 * arrays.moved[k] + i] += share * arrays.moves[3 * k + i];
      entry = end;
    });
    this._turnNormals();
    const { position, normal } = this.geometry.attributes;
    this._spread(vertices, 3, position.array);
    this._spread(this.normals, 3, normal.array);
    position.needsUpdate = normal.needsUpdate = true;
    this.setLight(this.light);
  }

  /** Normals of the vertices, weighted with the triangles' areas, and the harmonics there. */
  _turnNormals() {
    const { vertices, normals, triangles } = this;
    normals.fill(0);
    for (let t = 0; t < triangles.length; t += 3) {
      const [a, b, c] = [3 * triangles[t], 3 * triangles[t + 1], 3 * triangles[t + 2]];
      const [ux, uy, uz] = [vertices[b] - vertices[a], vertices[b + 1] - vertices[a + 1], vertices[b + 2] - vertices[a + 2]];
      const [vx, vy, vz] = [vertices[c] - vertices[a], vertices[c + 1] - vertices[a + 1], vertices[c + 2] - vertices[a + 2]];
      const [x, y, z] = [uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx];
      for (const vertex of [a, b, c]) {
        normals[vertex] += x;
        normals[vertex + 1] += y;
        normals[vertex + 2] += z;
      }
    }
    const bands = this.numbers.transferBands;
    for (let v = 0; v < this.vertexCount; v++) {
      const size = Math.hypot(normals[3 * v], normals[3 * v + 1], normals[3 * v + 2]) || 1;
      for (let i = 0; i < 3; i++) normals[3 * v + i] /= size;
      Harmonics.basis(normals[3 * v], normals[3 * v + 1], normals[3 * v + 2], bands, this.normalBasis, v * bands ** 2);
    }
  }

  /** Light the head with spherical harmonics in the light frame of the photo. */
  setLight(light) {
    this.light = light;
    const bands = this.numbers.transferBands;
    const seen = Harmonics.lookedAt(light, this.bands, this.turn, bands);
    const open = Float64Array.from(seen, (value, i) => value * Harmonics.COSINE[Math.floor(Math.sqrt(Math.floor(i / 3)))]);
    const { transfer } = this.arrays;
    const shadowed = Boolean(transfer) && this.shadows !== false;
    const irradiance = new Float32Array(3 * this.vertexCount);
    const share = new Float32Array(this.vertexCount).fill(1);
    const size = bands ** 2;
    for (let v = 0; v < this.vertexCount; v++) {
      let [red, green, blue, all] = [0, 0, 0, 0];
      for (let i = 0, at = v * size; i < size; i++, at++) {
        const here = this.normalBasis[at];
        const [r, g, b] = [here * open[3 * i], here * open[3 * i + 1], here * open[3 * i + 2]];
        all += r + g + b;
        if (shadowed) {
          const past = transfer[at];
          red += past * seen[3 * i];
          green += past * seen[3 * i + 1];
          blue += past * seen[3 * i + 2];
        } else {
          red += r;
          green += g;
          blue += b;
        }
      }
      irradiance[3 * v] = red;
      irradiance[3 * v + 1] = green;
      irradiance[3 * v + 2] = blue;
      if (shadowed) share[v] = Math.min(Math.max((red + green + blue) / Math.max(all, 1e-6), 0), 1);
    }
    const attributes = this.geometry.attributes;
    this._spread(irradiance, 3, attributes.irradiance.array);
    this._spread(share, 1, attributes.share.array);
    attributes.irradiance.needsUpdate = attributes.share.needsUpdate = true;
    this._filter(light);
    this.draw();
  }

  /** Filter the light for the levels of roughness, each a latitude-longitude map below the one before. */
  _filter(light) {
    const { width, height, levels } = FILTER;
    const { bands } = this;
    this.mapBasis ??= (() => {
      const rows = new Float32Array(width * height * bands ** 2);
      for (let r = 0; r < height; r++)
        for (let c = 0; c < width; c++) {
          const [theta, phi] = [(Math.PI * (r + 0.5)) / height, (2 * Math.PI * (c + 0.5)) / width];
          const sine = Math.sin(theta);
          const at = (r * width + c) * bands ** 2;
          Harmonics.basis(sine * Math.sin(phi), Math.cos(theta), -sine * Math.cos(phi), bands, rows, at);
        }
      return rows;
    })();
    const factors = Array.from({ length: levels }, (_, level) => {
      const place = (level / (levels - 1)) * (this.numbers.tableSize - 1);
      const below = Math.min(Math.floor(place), this.numbers.tableSize - 2);
      const entry = (row, band) => this.arrays.lobeBands[row * bands + band];
      return Array.from({ length: bands }, (_, band) =>
        entry(below, band) + (place - below) * (entry(below + 1, band) - entry(below, band)));
    });
    const { data } = this.filtered.image;
    const half = THREE.DataUtils.toHalfFloat;
    const sums = new Float64Array(3 * bands);
    for (let texel = 0; texel < width * height; texel++) {
      sums.fill(0);
      for (let band = 0; band < bands; band++)
        for (let i = band * band; i < (band + 1) ** 2; i++) {
          const here = this.mapBasis[texel * bands ** 2 + i];
          for (let c = 0; c < 3; c++) sums[3 * band + c] += here * light[3 * i + c];
        }
      for (let level = 0; level < levels; level++) {
        const at = 4 * (level * width * height + texel);
        for (let c = 0; c < 3; c++) {
          let value = 0;
          for (let band = 0; band < bands; band++) value += factors[level][band] * sums[3 * band + c];
          data[at + c] = half(Math.min(Math.max(value, 0), 60000));
        }
      }
    }
    this.filtered.needsUpdate = true;
  }

  /** What the surface shows, one of MODES. */
  setMode(mode) {
    this.material.uniforms.mode.value = MODES.indexOf(mode);
    this.draw();
  }

  /** Whether a map ("diffuse", "specular", "roughness") is used; else its mean is. */
  useMap(kind, wanted) {
    this.material.uniforms.used.value.setComponent(["diffuse", "specular", "roughness"].indexOf(kind), wanted ? 1 : 0);
    this.draw();
  }

  /** Whether the head shadows itself. */
  useShadows(wanted) {
    this.shadows = wanted;
    this.setLight(this.light);
  }

  /** stops: how many times the light is doubled. */
  setBrightness(stops) {
    this.material.uniforms.exposure.value = 2 ** stops;
    this.draw();
  }

  /** Where the photo's frame lies in the canvas at the photo's view: left, top, width, height in CSS pixels. */
  frame() {
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    const scale = MARGIN * Math.min(width / this.photo.width, height / this.photo.height);
    const size = [scale * this.photo.width, scale * this.photo.height];
    return { left: (width - size[0]) / 2, top: (height - size[1]) / 2, width: size[0], height: size[1], scale };
  }

  resize() {
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    if (!width || !height) return;
    this.renderer.setSize(width, height, false);
    this._project();
    this.onView(undefined, this);
    this.draw();
  }

  /** The photo's K as a frustum that fills the canvas. */
  _project() {
    const { left, top, scale } = this.frame();
    const [[fx, , cx], [, fy, cy]] = this.photo.K;
    const near = this.controls.minDistance / 4;
    const far = this.controls.maxDistance * 2;
    const across = (pixel) => (((pixel - left) / scale - cx) / fx) * near;
    const down = (pixel) => (((pixel - top) / scale - cy) / fy) * near;
    this.camera.projectionMatrix.makePerspective(
      across(0), across(this.canvas.clientWidth), -down(0), -down(this.canvas.clientHeight), near, far,
    );
    this.camera.projectionMatrixInverse.copy(this.camera.projectionMatrix).invert();
  }

  /** Draw once before the next picture of the screen, however often this is asked for. */
  draw() {
    this.waiting ??= requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    cancelAnimationFrame(this.waiting);
    this.waiting = undefined;
    this.camera.position.copy(this.orbiting.position);
    this.camera.quaternion.copy(this.orbiting.quaternion).multiply(this.beside);
    this.renderer.render(this.scene, this.camera);
  }
}
