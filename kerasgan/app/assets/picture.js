// A picture with layers over it, on which one points or paints by mouse, touch or keyboard.
export default {
  template: `
    <div class="kg-picture" :class="{ painting: mode === 'paint', empty: !photo }" ref="box"
      :style="{ aspectRatio: ratio }" tabindex="0" role="application" :aria-label="label + help"
      @pointerdown="down" @pointermove="move" @pointerup="up" @pointercancel="cancel"
      @click="click" @keydown="key" @blur="cursor = null">
      <img v-if="photo" class="photo" :class="{ grey }" :src="photo" alt="" draggable="false" />
      <img v-for="layer in layers" :key="layer.key" :src="layer.src" alt="" draggable="false"
        :class="{ pixelated: layer.pixelated }" :style="{ opacity: layer.opacity ?? 1 }" />
      <canvas ref="canvas" aria-hidden="true"></canvas>
      <span v-if="point" class="cross" :style="place(point)" aria-hidden="true"></span>
      <span v-if="cursor" class="cross cursor" :style="place(cursor)" aria-hidden="true"></span>
      <p v-if="!photo" class="hint">{{ hint }}</p>
      <span class="kg-hidden" aria-live="polite">{{ said }}</span>
    </div>
  `,
  props: {
    photo: String,
    grey: Boolean,
    layers: Array,
    point: Array,
    mode: String,
    radius: Number,
    label: String,
    hint: String,
    ratio: String,
    cells: Array,
  },
  emits: ["point", "stroke"],
  data: () => ({ cursor: null, points: null }),
  computed: {
    help() {
      const verb = this.mode === "paint" ? "paints there" : "chooses that point";
      return `. Arrow keys move the cursor by a pixel of the network, with Shift by ten; Enter ${verb}.`;
    },
    said() {
      if (!this.cursor) return "";
      const [rows, columns] = this.cells || [100, 100];
      return `Row ${Math.floor(this.cursor[1] * rows) + 1}, column ${Math.floor(this.cursor[0] * columns) + 1}`;
    },
  },
  methods: {
    place: ([x, y]) => ({ left: `${100 * x}%`, top: `${100 * y}%` }),
    at(event) {
      const box = this.$refs.box.getBoundingClientRect();
      const share = (value, start, length) => Math.min(1, Math.max(0, (value - start) / length));
      return [share(event.clientX, box.left, box.width), share(event.clientY, box.top, box.height)];
    },
    down(event) {
      if (this.mode !== "paint" || !this.photo || event.button) return;
      event.preventDefault();
      this.$refs.box.focus({ preventScroll: true });
      this.$refs.box.setPointerCapture(event.pointerId);
      this.points = [this.at(event)];
      this.draw();
    },
    move(event) {
      if (!this.points) return;
      const [x, y] = this.at(event);
      const [a, b] = this.points[this.points.length - 1];
      if (Math.hypot(x - a, y - b) < this.radius / 4 || this.points.length >= 2000) return;
      this.points.push([x, y]);
      this.draw();
    },
    up() {
      if (!this.points) return;
      this.$emit("stroke", { points: this.points, radius: this.radius });
      this.points = null;
    },
    cancel() {
      this.points = null;
      this.wipe();
    },
    click(event) {
      if (this.mode === "paint" || !this.photo) return;
      this.cursor = null;
      this.$emit("point", this.at(event));
    },
    key(event) {
      if (!this.photo) return;
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (step) {
        const [rows, columns] = this.cells || [100, 100];
        const far = event.shiftKey ? 10 : 1;
        const [x, y] = this.cursor || this.point || [0.5, 0.5];
        const middle = (share, by, count) =>
          (Math.min(count - 1, Math.max(0, Math.floor(share * count) + far * by)) + 0.5) / count;
        this.cursor = [middle(x, step[0], columns), middle(y, step[1], rows)];
      } else if (event.key === "Enter" || event.key === " ") {
        const at = this.cursor || this.point || [0.5, 0.5];
        if (this.mode === "paint") this.$emit("stroke", { points: [at], radius: this.radius });
        else this.$emit("point", at);
      } else return;
      event.preventDefault();
    },
    draw() {
      const { canvas, box } = this.$refs;
      const [width, height] = [box.clientWidth, box.clientHeight];
      if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
      const pen = canvas.getContext("2d");
      pen.clearRect(0, 0, width, height);
      pen.strokeStyle = pen.fillStyle = "rgba(213, 94, 0, 0.7)";
      pen.lineWidth = 2 * this.radius * Math.max(width, height);
      pen.lineCap = pen.lineJoin = "round";
      pen.beginPath();
      const [first, ...others] = this.points;
      pen.moveTo(first[0] * width, first[1] * height);
      for (const [x, y] of others.length ? others : [first]) pen.lineTo(x * width, y * height);
      pen.stroke();
    },
    wipe() {
      const { canvas } = this.$refs;
      canvas?.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    },
  },
  watch: {
    photo() {
      this.wipe();
      this.cursor = null;
    },
  },
};
