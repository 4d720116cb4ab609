// A choice among options, by the browser's own control: it works with any keyboard, touch or reader.
export default {
  template: `
    <label class="kg-choice"><span>{{ label }}</span>
      <select :aria-label="label" :value="value" @change="$emit('choose', $event.target.value)">
        <option v-for="[key, text] in options" :key="key" :value="key">{{ text }}</option>
      </select>
    </label>
  `,
  props: { label: String, value: String, options: Array },
  emits: ["choose"],
};
