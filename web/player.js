// @ts-check
// Keeps the picture of a stream's page alive and near the live edge, and says
// what is going on. Without it the page plays as well, but does not recover.

/**
 * What `live.json` of a stream answers.
 * @typedef {{state: string, cause: string | null, clock_s: number, newest_age_s: number | null}} Live
 */

const LOOK_EVERY_MS = 250;
const ANSWER_WITHIN_MS = 5000;
/** Without progress for this long, there is a hole; and a new connection is needed. */
const HOLE_AFTER_MS = 500;
const STUCK_AFTER_MS = 3000;
/** The same before the first picture: a cold camera may take seconds. */
const NO_START_AFTER_MS = 8000;
/** A new connection finds its place behind live in this time. */
const SETTLED_AFTER_MS = 2000;
const FIRST_RETRY_MS = 500;
/** The longest wait while the service answers, and while it does not. */
const RETRY_AT_MOST_MS = 2000;
const RECONNECT_AT_MOST_MS = 5000;
/** A viewer that is too slow for the stream is not thrown to the live edge all the time. */
const JUMP_AGAIN_AFTER_MS = 10_000;
const JUMP_AT_MOST_EVERY_MS = 120_000;

/** A stream that gave something in this time goes on. */
const FRESH_S = 2;
/** A picture that is further behind than this does not catch up by playing faster. */
const TOO_LATE_S = 1.5;
/** Above this store of media the picture is played faster, down to the other. */
const AMPLE_STORE_S = 0.5;
const SMALL_STORE_S = 0.25;
const FASTER = 1.1;

/** Firefox leaves out most pictures near the live edge: of a stream with sound, unless 1.8 s of media
 * are in store (measured). So where the delay is not known, the store grows until pictures are shown. */
const JUDGE_EVERY_MS = 1000;
const MANY_DROPPED = 0.1;
const ENOUGH_STORE_S = 2.5;
const SLOWER = 0.8;
/** A larger store than this is what a pause or a slow network has left. */
const TOO_MUCH_STORE_S = 3.5;

/** A picture that is this much older than its connection, or newer than now,
 * tells that the player counts from elsewhere (Firefox, HLS): the delay is not known. */
const OLDEST_AT_START_S = 10;
const NEWER_THAN_NOW_S = 1;

const sleep = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Asks where the stream stands; throws where there is no answer. An error of the
 * service is the state `refused`. */
async function ask(/** @type {string} */ url) {
  const asked = performance.now();
  const signal = AbortSignal.timeout(ANSWER_WITHIN_MS);
  const answer = await fetch(url, { cache: "no-store", signal });
  const refused = { state: "refused", cause: `${answer.status}`, clock_s: 0, newest_age_s: null };
  const live = /** @type {Live} */ (answer.ok ? await answer.json() : refused);
  // Half of the way there and back lies behind the answer.
  return { ...live, at_ms: (asked + performance.now()) / 2 };
}

/** Whether a connection would get a picture that moves. */
function isGiving(/** @type {Live} */ live) {
  return live.state === "live" && (live.newest_age_s ?? Infinity) < FRESH_S;
}

/** Why there is no picture. */
function inWords(/** @type {Live} */ live) {
  switch (live.state) {
    case "waiting":
      return `There is no picture now. ${live.cause} Trying again…`;
    case "refused":
      return `The service refuses the stream (${live.cause}). Open this page again.`;
    case "ended":
      return `There is no picture. ${live.cause} It is not started again.`;
    case "live":
      return "The camera gives no picture now. Waiting for it…";
    default:
      return "The camera is starting…";
  }
}

class Player {
  /** @type {{clock_s: number, at_ms: number} | null} */
  #clock = null;
  #recovering = false;
  #pausedByUser = false;
  /** @type {boolean | null} Whether the player counts as the service does; not known at once. */
  #hasTimeline = null;
  #connectedAt = performance.now();
  /** @type {number | null} When the first picture of this connection was shown. */
  #startedAt = null;
  #seenTime = 0;
  #progressAt = performance.now();
  #retryMs = 0;
  #mayJumpAt = 0;
  #jumpAgainMs = JUMP_AGAIN_AFTER_MS;
  #judgedAt = 0;
  #pictures = { total: 0, dropped: 0 };

  /**
   * @param {HTMLElement} screen
   * @param {HTMLVideoElement} video
   * @param {string} url
   */
  constructor(screen, video, url) {
    this.screen = screen;
    this.video = video;
    this.url = url;
    this.status = /** @type {HTMLElement} */ (screen.querySelector("[role=status]"));
    this.delay = /** @type {HTMLElement} */ (screen.querySelector(".delay"));
    // Keeps its shape while a new connection has no picture yet.
    video.addEventListener("loadedmetadata", () => {
      [video.width, video.height] = [video.videoWidth, video.videoHeight];
    });
    video.addEventListener("playing", () => this.#onPlaying());
    video.addEventListener("pause", () => (this.#pausedByUser = !video.ended && !video.error));
    video.addEventListener("play", () => this.#onPlay());
    video.addEventListener("ended", () => this.#recover());
    // Errors of the sources reach the video on their way down only.
    video.addEventListener("error", (event) => this.#onError(event), true);
    document.addEventListener("visibilitychange", () => (this.#progressAt = performance.now()));
    setInterval(() => this.#look(), LOOK_EVERY_MS);
    this.#start();
  }

  async #start() {
    // `autoplay` waits until the browser has more than it needs; this does not.
    this.video.play().catch(() => {});
    const live = await ask(this.url).catch(() => null);
    this.#clock = live?.state === "refused" ? null : live;
    if (live && !isGiving(live) && this.#startedAt === null) {
      this.#tell(inWords(live));
    }
  }

  #onPlaying() {
    if (this.#startedAt === null) {
      this.#startedAt = performance.now();
    }
    this.#progressAt = performance.now();
  }

  #onPlay() {
    if (!this.#pausedByUser) {
      return;
    }
    this.#pausedByUser = false;
    this.#progressAt = performance.now();
    this.#mayJumpAt = 0;
    if (this.#isOver()) {
      this.#recover();
    }
  }

  #isOver() {
    const { ended, error, networkState } = this.video;
    return ended || error !== null || networkState === HTMLMediaElement.NETWORK_NO_SOURCE;
  }

  async #onError(/** @type {Event} */ event) {
    const isLast = event.target !== this.video.querySelector("source");
    const live = isLast ? null : await ask(this.url).catch(() => null);
    // Where the stream gives a picture, the next source may be the one to play.
    if (!this.#pausedByUser && (!live || !isGiving(live))) {
      this.#recover();
    }
  }

  /** Waits until there is a picture, tells why there is none, and connects again. */
  async #recover() {
    if (this.#recovering) {
      return;
    }
    this.#recovering = true;
    this.screen.classList.add("lost");
    this.delay.textContent = "";
    for (;;) {
      await sleep(this.#retryMs);
      const live = await ask(this.url).catch(() => null);
      const most = live ? RETRY_AT_MOST_MS : RECONNECT_AT_MOST_MS;
      this.#retryMs = Math.min(Math.max(2 * this.#retryMs, FIRST_RETRY_MS), most);
      if (live && isGiving(live)) {
        this.#clock = live;
        break;
      }
      this.#tell(live ? inWords(live) : "Connection lost. Trying again…");
    }
    this.#recovering = false;
    // Who has paused it meanwhile connects by playing it.
    if (!this.#pausedByUser) {
      this.#connect();
    }
  }

  #connect() {
    for (const source of this.video.querySelectorAll("source")) {
      const url = new URL(source.src);
      url.searchParams.set("try", `${Date.now()}`);
      source.src = url.href;
      // The picture may be encoded differently from now on.
      source.type = source.type.split(";")[0];
    }
    [this.#connectedAt, this.#startedAt, this.#hasTimeline] = [performance.now(), null, null];
    this.#tell("Connecting…");
    this.video.playbackRate = 1;
    this.video.load();
    this.video.play().catch(() => {});
  }

  /** Looks whether the picture moves and how far it is behind. */
  #look() {
    const now = performance.now();
    if (this.#recovering || this.#pausedByUser || document.hidden) {
      this.#progressAt = now;
      this.delay.textContent = "";
      if (this.#pausedByUser && !this.#recovering) {
        this.#tell("Paused");
      }
      return;
    }
    if (this.#startedAt === null) {
      if (now - this.#connectedAt > NO_START_AFTER_MS) {
        this.#recover();
      }
      return;
    }
    if (this.video.currentTime !== this.#seenTime) {
      [this.#seenTime, this.#progressAt] = [this.video.currentTime, now];
    }
    const stoodMs = now - this.#progressAt;
    const behind = this.#behind(now);
    const isSettled = now - this.#startedAt > SETTLED_AFTER_MS && stoodMs < HOLE_AFTER_MS;
    if (stoodMs > STUCK_AFTER_MS || (isSettled && this.#jumps(behind, now))) {
      this.#recover();
      return;
    }
    if (isSettled) {
      this.#retryMs = 0;
    }
    if (behind !== null) {
      this.#pace();
    } else if (this.#isEndless()) {
      this.#paceByPictures(now);
    }
    this.#show(stoodMs < HOLE_AFTER_MS ? behind : null, stoodMs);
  }

  #show(/** @type {number | null} */ behind, /** @type {number} */ stoodMs) {
    this.screen.classList.toggle("lost", stoodMs > 2 * HOLE_AFTER_MS);
    this.#tell(stoodMs > 2 * HOLE_AFTER_MS ? "Waiting for a picture…" : "Live");
    this.delay.textContent = behind === null ? "" : `${Math.max(behind, 0).toFixed(1)} s behind`;
  }

  /** Whether a new connection is to bring the picture to the live edge. */
  #jumps(/** @type {number | null} */ behind, /** @type {number} */ now) {
    if (now < this.#mayJumpAt || (behind === null && !this.#isEndless())) {
      return false;
    }
    if (behind === null ? this.#store() > TOO_MUCH_STORE_S : behind > TOO_LATE_S) {
      this.#mayJumpAt = now + this.#jumpAgainMs;
      this.#jumpAgainMs = Math.min(2 * this.#jumpAgainMs, JUMP_AT_MOST_EVERY_MS);
      return true;
    }
    this.#jumpAgainMs = JUMP_AGAIN_AFTER_MS;
    return false;
  }

  /** Seconds between the picture and the camera, by the clock of the service. */
  #behind(/** @type {number} */ now) {
    if (!this.#clock) {
      return null;
    }
    const { clock_s, at_ms } = this.#clock;
    const behindAt = (/** @type {number} */ ms) =>
      clock_s + (ms - at_ms) / 1000 - this.video.currentTime;
    this.#hasTimeline ??=
      behindAt(this.#connectedAt) < OLDEST_AT_START_S && behindAt(now) > -NEWER_THAN_NOW_S;
    return this.#hasTimeline ? behindAt(now) : null;
  }

  /** Whether the source is the endless MP4: of HLS, whole segments are in store. */
  #isEndless() {
    return new URL(this.video.currentSrc, location.href).pathname.endsWith(".mp4");
  }

  /** Seconds of media that wait to be shown. */
  #store() {
    const { buffered, currentTime } = this.video;
    return buffered.length ? buffered.end(buffered.length - 1) - currentTime : 0;
  }

  /** Plays a little faster while more lies in store than is needed. */
  #pace() {
    const store = this.#store();
    if (store > AMPLE_STORE_S) {
      this.video.playbackRate = FASTER;
    } else if (store < SMALL_STORE_S) {
      this.video.playbackRate = 1;
    }
  }

  /** Plays slower while many pictures are left out, until enough is in store. */
  #paceByPictures(/** @type {number} */ now) {
    if (now - this.#judgedAt < JUDGE_EVERY_MS) {
      return;
    }
    this.#judgedAt = now;
    const { totalVideoFrames: total, droppedVideoFrames: dropped } =
      this.video.getVideoPlaybackQuality();
    const before = total < this.#pictures.total ? { total: 0, dropped: 0 } : this.#pictures;
    this.#pictures = { total, dropped };
    const isDropping = dropped - before.dropped > MANY_DROPPED * (total - before.total);
    this.video.playbackRate = isDropping && this.#store() < ENOUGH_STORE_S ? SLOWER : 1;
  }

  #tell(/** @type {string} */ text) {
    // What is set anew is read out anew.
    if (this.status.textContent !== text) {
      this.status.textContent = text;
    }
  }
}

/** Opens a page without a picture again when there is one. */
async function waitForPicture(/** @type {string} */ url) {
  for (let live = null; !live || !isGiving(live); ) {
    await sleep(RETRY_AT_MOST_MS);
    live = await ask(url).catch(() => null);
  }
  location.reload();
}

const shown = /** @type {HTMLElement | null} */ (document.querySelector("[data-live]"));
if (shown) {
  const url = /** @type {string} */ (shown.dataset.live);
  const video = shown.querySelector("video");
  if (video) {
    new Player(shown, video, url);
  } else {
    waitForPicture(url);
  }
}
