// Surfaces that the server makes, in a scene by three.js.

import {
  AmbientLight, BufferAttribute, BufferGeometry, Color, DirectionalLight, DoubleSide, Mesh, MeshStandardMaterial, OrbitControls,
  OrthographicCamera, Scene, WebGLRenderer,
} from "../vendor/three.min.js";
import { Fault } from "../api.js";
import { turbo } from "./theme.js";

// Numbers as `thon.web.views.surfaces` packs them.
export async function fetchSurface(url, signal) {
  const response = await fetch(url, { signal });
  if (!response.ok) throw new Fault(response.status, await response.json());
  const data = await response.arrayBuffer();
  const [vertices, triangles, coloured] = new Uint32Array(data, 0, 3);
  let at = 12;
  const take = (Kind, count) => {
    const part = new Kind(data, at, count);
    at += part.byteLength;
    return part;
  };
  const position = take(Float32Array, 3 * vertices);
  const values = coloured ? take(Float32Array, vertices) : null;
  return { vertices, triangles, position, values, index: take(Uint32Array, 3 * triangles), normal: take(Int8Array, 4 * vertices) };
}

export function meshOf(surface, { colour, opacity = 1, range }) {
  const geometry = new BufferGeometry();
  geometry.setAttribute("position", new BufferAttribute(surface.position, 3));
  geometry.setAttribute("normal", new BufferAttribute(normals(surface), 3, true));
  geometry.setIndex(new BufferAttribute(surface.index, 1));
  if (surface.values && range) geometry.setAttribute("color", new BufferAttribute(painted(surface.values, range), 3, true));
  const material = new MeshStandardMaterial({
    color: surface.values && range ? 0xffffff : new Color(colour),
    vertexColors: Boolean(surface.values && range),
    roughness: 0.62,
    metalness: 0.05,
    side: DoubleSide,
    transparent: opacity < 1,
    opacity,
    depthWrite: opacity === 1,
  });
  return new Mesh(geometry, material);
}

function normals(surface) {
  const made = new Int8Array(3 * surface.vertices);
  for (let k = 0; k < surface.vertices; k++) for (let axis = 0; axis < 3; axis++) made[3 * k + axis] = surface.normal[4 * k + axis];
  return made;
}

// Colours are light as the eye sees it; three.js wants it linear.
function painted(values, [low, high]) {
  const table = Array.from({ length: 256 }, (_, k) => turbo(k / 255).map((value) => Math.round(255 * new Color().setRGB(value / 255, 0, 0, "srgb").r)));
  const made = new Uint8Array(3 * values.length);
  values.forEach((value, k) => made.set(table[Math.round(255 * Math.min(Math.max((value - low) / (high - low), 0), 1))], 3 * k));
  return made;
}

// A stage with a camera that the pointer turns. `linked` stages share their camera's place.
export class Stage {
  constructor(holder, extent, signal) {
    this.renderer = new WebGLRenderer({ antialias: true, alpha: true, preserveDrawingBuffer: true });
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    this.canvas = this.renderer.domElement;
    holder.append(this.canvas);
    this.scene = new Scene();
    this.camera = new OrthographicCamera(-1, 1, 1, -1, -20 * extent, 20 * extent);
    this.extent = extent;
    this.home();
    const light = new DirectionalLight(0xffffff, 2.4);
    light.position.set(0.5, 0.9, 1.2);
    this.camera.add(light);
    this.scene.add(this.camera, new AmbientLight(0xffffff, 0.75));
    this.controls = new OrbitControls(this.camera, this.canvas);
    this.controls.enableDamping = false;
    this.controls.addEventListener("change", () => {
      this.render();
      this.onturn?.(this);
    });
    this.meshes = [];
    this.sized = new ResizeObserver(() => this.resize(holder));
    this.sized.observe(holder);
    signal.addEventListener("abort", () => this.close());
  }

  home() {
    this.camera.position.set(0, 0, 4 * this.extent);
    this.camera.zoom = this.closeness ?? 1;
    this.camera.up.set(0, 1, 0);
    this.camera.lookAt(0, 0, 0);
    this.camera.updateProjectionMatrix();
  }

  // Comes so close that what is on the stage fills it.
  approach(mesh) {
    mesh.geometry.computeBoundingSphere();
    const { center, radius } = mesh.geometry.boundingSphere;
    this.closeness = Math.min(Math.max((0.58 * this.extent) / (radius + center.length()), 1), 8);
    this.home();
  }

  resize(holder) {
    const [width, height] = [holder.clientWidth, holder.clientHeight];
    if (!width || !height) return;
    this.renderer.setSize(width, height);
    const half = 0.62 * this.extent;
    const wide = (half * width) / height;
    Object.assign(this.camera, width > height ? { left: -wide, right: wide, top: half, bottom: -half } : { left: -half, right: half, top: (half * height) / width, bottom: (-half * height) / width });
    this.camera.updateProjectionMatrix();
    this.render();
  }

  put(...meshes) {
    for (const old of this.meshes) {
      this.scene.remove(old);
      old.geometry.dispose();
      old.material.dispose();
    }
    this.meshes = meshes;
    if (meshes.length) this.scene.add(...meshes);
    this.render();
  }

  follow(other) {
    this.camera.position.copy(other.camera.position);
    this.camera.quaternion.copy(other.camera.quaternion);
    this.camera.zoom = other.camera.zoom;
    this.controls.target.copy(other.controls.target);
    this.camera.updateProjectionMatrix();
    this.render();
  }

  turn(azimuth, elevation) {
    const spherical = this.camera.position.clone().sub(this.controls.target);
    const radius = spherical.length();
    const theta = Math.atan2(spherical.x, spherical.z) + azimuth;
    const phi = Math.min(Math.max(Math.asin(spherical.y / radius) + elevation, -1.5), 1.5);
    this.camera.position.set(radius * Math.cos(phi) * Math.sin(theta), radius * Math.sin(phi), radius * Math.cos(phi) * Math.cos(theta)).add(this.controls.target);
    this.controls.update();
    this.render();
    this.onturn?.(this);
  }

  get view() {
    const { x, y, z } = this.camera.position;
    return [x, y, z].map((value) => (value / this.extent).toFixed(2)).join(" ") + ` ${this.camera.zoom.toFixed(2)}`;
  }

  set view(text) {
    const [x, y, z, zoom] = text.split(" ").map(Number);
    if (![x, y, z, zoom].every(Number.isFinite) || !(zoom > 0)) return;
    this.camera.position.set(x * this.extent, y * this.extent, z * this.extent);
    this.camera.zoom = zoom;
    this.camera.updateProjectionMatrix();
    this.controls.update();
  }

  render() {
    this.renderer.render(this.scene, this.camera);
  }

  close() {
    this.sized.disconnect();
    this.controls.dispose();
    this.put();
    this.renderer.dispose();
    this.renderer.forceContextLoss();
    this.canvas.remove();
  }
}
