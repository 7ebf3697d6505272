// One question after the other, once a second, and none while nobody looks.

const INTERVAL_MS = 1000;
const LONGEST_PAUSE_MS = 10_000;

export class Poller {
  #ask;
  #timer = null;
  #failures = 0;
  #isAsking = false;
  #isPaused = false;

  // `ask` says by its result whether it worked out: after failures, pauses grow.
  constructor(ask) {
    this.#ask = ask;
    document.addEventListener("visibilitychange", () => this.now());
  }

  get isPaused() {
    return this.#isPaused;
  }

  set isPaused(paused) {
    this.#isPaused = paused;
    this.now();
  }

  // Ask at once, unless that is being done, and go on from there.
  now() {
    clearTimeout(this.#timer);
    if (!this.#isPaused && !document.hidden) this.#turn();
  }

  async #turn() {
    if (this.#isAsking) return;
    this.#isAsking = true;
    const began = performance.now();
    let worked = false;
    try {
      worked = await this.#ask();
    } finally {
      this.#isAsking = false;
    }
    this.#failures = worked ? 0 : this.#failures + 1;
    if (this.#isPaused || document.hidden) return;
    const interval = Math.min(LONGEST_PAUSE_MS, INTERVAL_MS * 2 ** Math.min(this.#failures, 4));
    const pause = this.#failures ? interval : INTERVAL_MS - (performance.now() - began);
    this.#timer = setTimeout(() => this.now(), Math.max(50, pause));
  }
}
