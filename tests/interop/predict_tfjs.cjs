// Outputs of a TensorFlow.js layers model: node predict_tfjs.cjs MODEL_DIR IMAGES OUTPUTS
// IMAGES and OUTPUTS are raw little-endian float32; the model is loaded as a page would load it.
const fs = require("fs");
const path = require("path");
const tf = require("@tensorflow/tfjs");

async function main([directory, images, outputs]) {
  const read = (name) => fs.readFileSync(path.join(directory, name));
  const handler = {
    load: async () => {
      const json = JSON.parse(read("model.json").toString());
      return tf.io.getModelArtifactsForJSON(json, async (manifest) => {
        const specs = manifest.flatMap((group) => group.weights);
        const data = Buffer.concat(manifest.flatMap((group) => group.paths.map(read)));
        return [specs, data.buffer.slice(data.byteOffset, data.byteOffset + data.length)];
      });
    },
  };
  await tf.setBackend("cpu");
  const model = await tf.loadLayersModel(handler);
  const shape = model.inputs[0].shape.slice(1);
  const raw = fs.readFileSync(images);
  const pixels = new Float32Array(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.length));
  const count = pixels.length / shape.reduce((a, b) => a * b, 1);
  const result = model.predict(tf.tensor(pixels, [count, ...shape]), { batchSize: 32 });
  fs.writeFileSync(outputs, Buffer.from((await result.data()).buffer));
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
