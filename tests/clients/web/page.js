// Plays a URL in one of four ways and notes a grey pixel of each bar of every
// picture that is shown, or the seconds of sound that were played.
'use strict';

const shown = [];
let problem = null;

const canvas = document.createElement('canvas');
canvas.width = 16;
canvas.height = 1;
const pixels = canvas.getContext('2d', {willReadFrequently: true});

const now = () => performance.timeOrigin + performance.now();

function bars(picture, width, height) {
  const data = new Uint8ClampedArray(16);
  pixels.drawImage(picture, 0, height / 16, width, height / 8, 0, 0, 16, 1);
  const four = pixels.getImageData(0, 0, 16, 1).data;
  for (let bar = 0; bar < 16; bar++) data[bar] = four[4 * bar + 1];
  return Array.from(data);
}

function note(video) {
  const next = () => {
    shown.push([now(), bars(video, video.videoWidth, video.videoHeight)]);
    video.requestVideoFrameCallback(next);
  };
  video.requestVideoFrameCallback(next);
}

function tag(kind) {
  const element = document.createElement(kind);
  document.body.replaceChildren(element);
  element.onerror = () => { problem = `${kind}: ${element.error?.message ?? 'error'}`; };
  return element;
}

function video() {
  const element = tag('video');
  element.muted = element.playsInline = true;
  note(element);
  return element;
}

const players = {
  tag(url) {
    const element = video();
    element.autoplay = true;
    element.src = url;
  },
  image(url) {
    const element = tag('img');
    let last = null;
    const look = () => {
      if (element.naturalWidth > 0) {
        const row = bars(element, element.naturalWidth, element.naturalHeight);
        if (row.join() !== last) shown.push([now(), row]);
        last = row.join();
      }
      requestAnimationFrame(look);
    };
    look();
    element.src = url;
  },
  sound(url) {
    const element = tag('audio');
    let last = 0;
    element.ontimeupdate = () => {
      if (element.currentTime > last) shown.push([now(), element.currentTime - last]);
      last = element.currentTime;
    };
    element.src = url;
    element.play().catch((error) => { problem = String(error); });
  },
  hlsjs(url) {
    const element = video();
    const hls = new Hls();
    hls.on(Hls.Events.ERROR, (_, error) => {
      if (error.fatal) problem = `hls.js: ${error.details}`;
    });
    hls.loadSource(url);
    hls.attachMedia(element);
    element.play().catch(() => {});
  },
  shaka(url) {
    const element = video();
    element.autoplay = true;
    const player = new shaka.Player();
    const fail = (error) => { problem = `Shaka: ${error.message ?? error.code}`; };
    player.addEventListener('error', (event) => fail(event.detail));
    player.attach(element).then(() => player.load(url)).catch(fail);
  },
};
