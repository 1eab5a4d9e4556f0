// Live masks: the newest frame is taken whenever the network is free, all others are skipped.

const WIDTH = 640; // of a frame: more costs time and the network sees no more of it

/** Reads the camera and calls back with each frame and its mask. */
export class Camera {
  #network;
  #video = document.createElement("video");
  #canvas = document.createElement("canvas");
  #stream;
  #isWanted = false;

  /** @param {{segment: Function}} network */
  constructor(network) {
    this.#network = network;
    this.#video.muted = true;
    this.#video.playsInline = true;
  }

  get isOn() {
    return this.#isWanted;
  }

  /**
   * Start the camera and go on until `stop`.
   *
   * @param {(frame: HTMLCanvasElement, mask: object) => void} show called with each mask
   * @returns {Promise<void>} ends after `stop`, or when the camera is taken away
   * @throws {Error} there is no camera, it was not allowed, or the network fails
   */
  async run(show) {
    if (!navigator.mediaDevices) {
      throw new Error("The camera needs a page that is served over https or from localhost.");
    }
    this.#isWanted = true;
    try {
      this.#stream = await openCamera(); // asks the person, who may take long
      const [track] = this.#stream.getVideoTracks();
      this.#video.srcObject = this.#stream;
      await this.#video.play();
      while (this.isOn && track.readyState === "live") {
        const frame = this.#grab();
        const bitmap = await createImageBitmap(frame, { colorSpaceConversion: "none" });
        const mask = await this.#network.segment(bitmap);
        if (this.isOn) show(frame, mask);
        await nextFrame(this.#video);
      }
    } finally {
      this.stop();
    }
  }

  stop() {
    this.#isWanted = false;
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = undefined;
    this.#video.srcObject = null;
  }

  /** The frame of now: what is shown is what was segmented. */
  #grab() {
    const { videoWidth, videoHeight } = this.#video;
    this.#canvas.width = videoWidth;
    this.#canvas.height = videoHeight;
    this.#canvas.getContext("2d").drawImage(this.#video, 0, 0);
    return this.#canvas;
  }
}

async function openCamera() {
  try {
    return await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "environment", width: { ideal: WIDTH } },
    });
  } catch (error) {
    const reasons = {
      NotAllowedError: "The camera was not allowed. Allow it in the browser's settings of this page.",
      NotFoundError: "There is no camera. Choose a picture instead.",
    };
    throw new Error(reasons[error.name] ?? `The camera cannot be used: ${error.message}`);
  }
}

/** The next frame of the camera, or a moment where a browser cannot tell of it. */
function nextFrame(video) {
  return new Promise((resolve) => {
    setTimeout(resolve, 250); // a camera that is taken away gives no frame
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(() => resolve());
    else requestAnimationFrame(() => resolve());
  });
}
