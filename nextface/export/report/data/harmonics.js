"use strict";
// Real spherical harmonics as in nextface/scene/lighting.py: orthonormal, polar axis +z, no Condon-Shortley sign,
// index l (l + 1) + m. A light is an array of 3 bands^2 numbers, red, green and blue of each coefficient, in the light
// frame: x right, y up, z towards the photographer, which is also three.js' camera frame.

const Harmonics = (() => {
  const scales = new Map();

  function scale(l, m) {
    const key = 64 * l + m;
    if (!scales.has(key)) {
      let ratio = 1;
      for (let k = l - m + 1; k <= l + m; k++) ratio /= k;
      scales.set(key, Math.sqrt(((2 * l + 1) / (4 * Math.PI)) * ratio * (m ? 2 : 1)));
    }
    return scales.get(key);
  }

  /** Values at the unit direction (x, y, z), written to `out` from index `at` on. */
  function basis(x, y, z, bands, out, at = 0) {
    let cosine = 1;
    let sine = 0; // sin^m(theta) times cos(m phi), sin(m phi)
    let first = 1; // the associated Legendre polynomial of l = m, over sin^m
    for (let m = 0; m < bands; m++) {
      let previous = 0;
      let current = first;
      for (let l = m; l < bands; l++) {
        const value = scale(l, m) * current;
        const middle = at + l * (l + 1);
        if (m === 0) out[middle] = value;
        else {
          out[middle + m] = value * cosine;
          out[middle - m] = value * sine;
        }
        const following = ((2 * l + 1) * z * current - (l + m) * previous) / (l - m + 1);
        previous = current;
        current = following;
      }
      first *= 2 * m + 1;
      const turned = x * cosine - y * sine;
      sine = x * sine + y * cosine;
      cosine = turned;
    }
    return out;
  }

  /** Nearly uniform directions over the sphere, x, y, z of each. */
  function directions(count) {
    const places = new Float32Array(3 * count);
    for (let k = 0; k < count; k++) {
      const y = 1 - (2 * (k + 0.5)) / count;
      const radius = Math.sqrt(1 - y * y);
      const azimuth = Math.PI * (1 + Math.sqrt(5)) * (k + 0.5);
      places.set([radius * Math.sin(azimuth), y, -radius * Math.cos(azimuth)], 3 * k);
    }
    return places;
  }

  const SAMPLES = 1600;
  const places = directions(SAMPLES);
  const known = new Map();

  /** The harmonics at the sampled directions: a row for each. */
  function sampledBasis(bands) {
    if (!known.has(bands)) {
      const rows = new Float32Array(SAMPLES * bands ** 2);
      for (let k = 0; k < SAMPLES; k++)
        basis(places[3 * k], places[3 * k + 1], places[3 * k + 2], bands, rows, k * bands ** 2);
      known.set(bands, rows);
    }
    return known.get(bands);
  }

  /**
   * The light c of so many bands looked at through a turn: in direction d it sends what c sends from R d.
   * `turn` is R row by row. The result has `wanted` bands; those that the light lacks are 0.
   */
  function lookedAt(light, bands, turn, wanted) {
    const rows = sampledBasis(wanted);
    const size = wanted ** 2;
    const out = new Float64Array(3 * size);
    const at = new Float64Array(bands ** 2);
    const weight = (4 * Math.PI) / SAMPLES;
    for (let k = 0; k < SAMPLES; k++) {
      const [x, y, z] = [places[3 * k], places[3 * k + 1], places[3 * k + 2]];
      basis(
        turn[0] * x + turn[1] * y + turn[2] * z,
        turn[3] * x + turn[4] * y + turn[5] * z,
        turn[6] * x + turn[7] * y + turn[8] * z,
        bands,
        at,
      );
      let [red, green, blue] = [0, 0, 0];
      for (let i = 0; i < at.length; i++) {
        red += at[i] * light[3 * i];
        green += at[i] * light[3 * i + 1];
        blue += at[i] * light[3 * i + 2];
      }
      for (let i = 0; i < size; i++) {
        const value = rows[k * size + i] * weight;
        out[3 * i] += value * red;
        out[3 * i + 1] += value * green;
        out[3 * i + 2] += value * blue;
      }
    }
    return out;
  }

  /** A light that is nowhere negative: a soft lamp of a colour (red, green, blue power) in a direction. */
  function lamp(direction, colour, kernel) {
    const bands = kernel.length;
    const size = Math.hypot(...direction);
    const at = basis(direction[0] / size, direction[1] / size, direction[2] / size, bands, []);
    const light = new Float64Array(3 * bands ** 2);
    for (let l = 0; l < bands; l++)
      for (let i = l * l; i < (l + 1) ** 2; i++)
        for (let c = 0; c < 3; c++) light[3 * i + c] = at[i] * kernel[l] * colour[c];
    return light;
  }

  /** Light of one colour (red, green, blue power) from everywhere. */
  function even(colour, bands) {
    const light = new Float64Array(3 * bands ** 2);
    for (let c = 0; c < 3; c++) light[c] = colour[c] / Math.sqrt(4 * Math.PI);
    return light;
  }

  const sum = (lights) => lights[0].map((_, i) => lights.reduce((total, light) => total + light[i], 0));
  const COSINE = [Math.PI, (2 * Math.PI) / 3, Math.PI / 4, 0, -Math.PI / 24]; // radiance to irradiance, by band

  return { basis, lookedAt, lamp, even, sum, COSINE };
})();
