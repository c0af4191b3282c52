"use strict";
// Draws each .solid in WebGL: drag turns it, the wheel comes closer, a double click begins anew.
(() => {
  const VERTEX = `#version 300 es
    in vec3 position; in vec3 normal; in vec3 color; in vec2 uv;
    uniform mat3 turn; uniform float aspect, zoom;
    out vec3 n, c; out vec2 at;
    void main() {
      vec3 p = turn * position;
      n = turn * normal; c = color; at = uv;
      float w = 3.1 - p.z;  // an opening angle of 40 degrees
      gl_Position = vec4(2.75 * zoom * p.x / aspect, 2.75 * zoom * p.y, (w - 3.1) * 0.5, w);
    }`;
  const FRAGMENT = `#version 300 es
    precision highp float;
    in vec3 n, c; in vec2 at;
    uniform sampler2D picture; uniform bool textured, plain;
    out vec4 pixel;
    void main() {
      vec3 normal = normalize(n) * (gl_FrontFacing ? 1.0 : -1.0);
      float light = 0.55 + 0.45 * max(dot(normal, normalize(vec3(-0.45, 0.8, 1.0))), 0.0);
      pixel = vec4(light * (plain ? vec3(0.7) : textured ? texture(picture, at).rgb : c), 1.0);
    }`;
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;

  function show(place) {
    const canvas = document.createElement("canvas");
    const gl = canvas.getContext("webgl2", { antialias: true });
    if (!gl) return;  // the picture stays
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return;
    gl.useProgram(program);
    const attribute = (name, data, size, kind, normalized) => {
      const location = gl.getAttribLocation(program, name);
      if (location < 0 || !data) return;
      gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ARRAY_BUFFER, bytes(data), gl.STATIC_DRAW);
      gl.enableVertexAttribArray(location);
      gl.vertexAttribPointer(location, size, kind, normalized, 0, 0);
    };
    const data = place.dataset;
    attribute("position", data.positions, 3, gl.FLOAT, false);
    attribute("normal", data.normals, 3, gl.BYTE, true);
    attribute("color", data.colors, 3, gl.UNSIGNED_BYTE, true);
    attribute("uv", data.uv, 2, gl.FLOAT, false);
    const faces = bytes(data.faces);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, faces, gl.STATIC_DRAW);
    const uniform = (name) => gl.getUniformLocation(program, name);
    gl.enable(gl.DEPTH_TEST);

    let yaw, pitch, zoom, plain = false, waiting = false;
    const start = () => { yaw = -0.35; pitch = 0.35; zoom = 1; };
    const draw = () => {
      waiting = false;
      const scale = window.devicePixelRatio || 1;
      const [width, height] = [canvas.clientWidth * scale, canvas.clientHeight * scale].map((side) => Math.max(1, Math.round(side)));
      if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
      gl.viewport(0, 0, width, height);
      gl.clearColor(0.93, 0.93, 0.93, 1);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      const [s, c, t, d] = [Math.sin(yaw), Math.cos(yaw), Math.sin(pitch), Math.cos(pitch)];
      gl.uniformMatrix3fv(uniform("turn"), false, [c, s * t, -s * d, 0, d, t, s, -c * t, c * d]);
      gl.uniform1f(uniform("aspect"), width / height);
      gl.uniform1f(uniform("zoom"), zoom);
      gl.uniform1i(uniform("textured"), data.texture ? 1 : 0);
      gl.uniform1i(uniform("plain"), plain ? 1 : 0);
      gl.drawElements(gl.TRIANGLES, faces.byteLength / 4, gl.UNSIGNED_INT, 0);
    };
    const soon = () => { if (!waiting) { waiting = true; requestAnimationFrame(draw); } };

    const pointers = new Map();
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, event);
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      const other = [...pointers.values()].find((one) => one.pointerId !== event.pointerId);
      if (other) {
        const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
        zoom *= apart(event) / Math.max(1, apart(before));
      } else {
        yaw += (event.clientX - before.clientX) * 0.01;
        pitch = Math.max(-1.57, Math.min(1.57, pitch + (event.clientY - before.clientY) * 0.01));
      }
      zoom = Math.max(0.4, Math.min(8, zoom));
      pointers.set(event.pointerId, event);
      soon();
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      zoom = Math.max(0.4, Math.min(8, zoom * Math.exp(-event.deltaY * 0.001)));
      soon();
    }, { passive: false });
    canvas.addEventListener("dblclick", () => { start(); soon(); });
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "shape only";
    button.addEventListener("click", () => {
      plain = !plain;
      button.textContent = plain ? "with colours" : "shape only";
      soon();
    });
    if (data.texture) {
      const image = new Image();
      image.onload = () => {
        gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
        gl.pixelStorei(gl.UNPACK_FLIP_Y_WEBGL, true);
        gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, image);
        gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
        gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
        gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
        soon();
      };
      image.src = data.texture;
    }
    canvas.setAttribute("aria-label", "3D view: drag to turn, wheel to zoom, double click to begin anew");
    place.append(canvas, button);
    new ResizeObserver(soon).observe(canvas);
    start();
    soon();
  }

  for (const place of document.querySelectorAll(".solid")) show(place);
})();
