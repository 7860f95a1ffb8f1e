// What the page does by itself: pictures answer to the pointer, sounds play. The server is asked for nothing here but sounds.
(() => {
  const toolbox = (window.toolbox = { pieces: 0, context: null });
  const shared = new Audio(); // plays what has no player of its own

  // ---- pictures

  const seconds = (view, event) => {
    const box = view.querySelector(".tb-pictures").getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    return share * view.dataset.seconds;
  };

  const parsed = (view) => (view.parsed ??= {
    labels: JSON.parse(view.dataset.labels ?? "[]"),
    heard: JSON.parse(view.dataset.heard ?? "[]"),
  });

  const named = (label) => ({ " ": "space", end: "end of the text", "": "more of the letter before" })[label] ?? `“${label}”`;

  function mark(view, time) {
    const { heard } = parsed(view);
    const share = time / view.dataset.seconds;
    const cursor = view.querySelector(".tb-cursor");
    cursor.style.display = "block";
    cursor.style.left = `${100 * share}%`;
    const index = heard[Math.min(heard.length - 1, Math.floor(share * heard.length))] ?? -1;
    view.querySelector(".tb-on")?.classList.remove("tb-on");
    view.querySelectorAll(".tb-text span")[index]?.classList.add("tb-on");
    return index;
  }

  function point(view, event) {
    const { labels } = parsed(view);
    const time = seconds(view, event);
    const spoken = mark(view, time);
    let text = `${time.toFixed(2)} s`;
    if (labels.length && spoken >= 0) text += ` · being spoken: ${named(labels[spoken])}`;
    const alignment = event.target.closest(".tb-alignment");
    if (alignment) {
      const box = alignment.getBoundingClientRect();
      const row = Math.floor((1 - (event.clientY - box.top) / box.height) * labels.length);
      const under = Math.min(labels.length - 1, Math.max(0, row));
      text += ` · symbol under the pointer: ${named(labels[under])} (${under + 1} of ${labels.length})`;
    }
    view.querySelector(".tb-readout").textContent = text;
  }

  document.addEventListener("pointermove", (event) => {
    const view = event.target.closest?.(".tb-pictures")?.parentElement;
    if (view) point(view, event);
  });

  document.addEventListener("click", (event) => {
    const view = event.target.closest?.(".tb-pictures")?.parentElement;
    const audio = view?.closest(".tb-card")?.querySelector("audio");
    if (audio) {
      audio.currentTime = seconds(view, event);
      audio.play();
    }
  });

  function follow(audio) {
    const view = audio.closest(".tb-card")?.querySelector(".tb-speech");
    if (!view) return;
    mark(view, Math.min(audio.currentTime, view.dataset.seconds));
    if (!audio.paused) requestAnimationFrame(() => follow(audio));
  }

  // ---- the map: names stand where there is room, the others are shown at the pointer

  const SIDES = [[0, -1, "middle"], [0, 1, "middle"], [1, 0, "start"], [-1, 0, "end"]]; // x, y

  toolbox.label = () => {
    const map = document.querySelector(".tb-map");
    const frame = map?.getBoundingClientRect();
    if (!frame?.width) return; // on a tab that is not shown
    const pixels = map.getScreenCTM().a; // of a unit of the drawing
    const taken = [...map.querySelectorAll("rect, circle")].map((each) => each.getBoundingClientRect());
    const apart = (a, b) => a.right < b.left || b.right < a.left || a.bottom < b.top || b.bottom < a.top;
    const within = (box) => box.left > frame.left && box.right < frame.right && box.top > frame.top && box.bottom < frame.bottom;
    for (const name of map.querySelectorAll("text")) {
      const size = parseFloat(getComputedStyle(name).fontSize);
      const away = name.previousElementSibling.getBoundingClientRect().height / 2 / pixels + 5;
      const fits = SIDES.some(([x, y, anchor]) => {
        name.setAttribute("x", x * away);
        name.setAttribute("y", y * away + [0, 0.35, 0.8][y + 1] * size);
        name.setAttribute("text-anchor", anchor);
        const box = name.getBoundingClientRect();
        return within(box) && taken.every((other) => apart(box, other)) && taken.push(box);
      });
      name.classList.toggle("tb-crowded", !fits);
    }
  };
  window.addEventListener("resize", () => toolbox.label());

  // ---- messages: what was said of the last action is not said of the next

  const forget = (event) => {
    if (!event.target.closest?.("button, input[type=file], .upload-container") || event.target.closest(".toast-body")) return;
    document.querySelectorAll(".toast-close").forEach((button) => button.click());
  };
  for (const kind of ["click", "change", "drop"]) document.addEventListener(kind, forget, true);

  // ---- what would be lost: the browser asks before the page goes, unless all was downloaded

  const unsaved = (toolbox.unsaved = new Set()), saved = new Set();

  toolbox.shown = (view) => requestAnimationFrame(() => {
    for (const each of view.querySelectorAll("[data-unsaved]")) {
      if (!saved.has(each.dataset.unsaved)) unsaved.add(each.dataset.unsaved);
    }
    const isNarrow = innerWidth <= 600; // pictures would push the text out of sight
    view.querySelectorAll("details").forEach((each) => (each.open = !isNarrow));
  });

  window.addEventListener("beforeunload", (event) => unsaved.size && event.preventDefault());

  // Gradio's own listener, which is called first, ends the session, and whoever stays would have lost it.
  const abort = AbortController.prototype.abort;
  AbortController.prototype.abort = function (...reason) {
    if (window.event?.type !== "beforeunload" || !unsaved.size) abort.apply(this, reason);
  };

  // ---- sounds

  function playing(element) {
    document.querySelectorAll(".tb-playing").forEach((each) => each.classList.remove("tb-playing"));
    element?.classList.add("tb-playing");
  }

  document.addEventListener("play", (event) => {
    silence(event.target);
    follow(event.target);
  }, true); // media events do not bubble

  function silence(except) {
    stopStream();
    for (const audio of [shared, ...document.querySelectorAll("audio")]) if (audio !== except) audio.pause();
  }

  function play(element) {
    const url = element.dataset.play;
    if (!url) return;
    const again = shared.dataset.url === url && !shared.paused;
    silence();
    playing(null);
    if (again) return;
    shared.src = shared.dataset.url = url;
    shared.play();
    playing(element);
  }

  shared.addEventListener("ended", () => playing(null));
  document.addEventListener("click", (event) => {
    const element = event.target.closest?.("[data-play]");
    if (element) play(element);
  });
  document.addEventListener("keydown", (event) => {
    const element = event.target.closest?.("svg [data-play]");
    if (element && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      play(element);
    }
  });

  // ---- the microphone: Gradio does not say that it is refused

  const devices = navigator.mediaDevices;
  const heard = (text) => {
    const line = document.getElementById("microphone");
    line.hidden = !text;
    line.textContent = text;
  };
  const reasons = {
    NotAllowedError: "The browser does not allow this page to use the microphone. Allow it beside the address, or upload a recording.",
    NotFoundError: "There is no microphone. Connect one, or upload a recording.",
  };
  if (devices) {
    const open = devices.getUserMedia.bind(devices);
    devices.getUserMedia = (wanted) => open(wanted).then((stream) => (heard(""), stream), (error) => {
      heard(reasons[error.name] ?? `The microphone cannot be used (${error.message}). Upload a recording instead.`);
      throw error;
    });
  } else {
    window.addEventListener("load", () => setTimeout(() => heard("Browsers record only on pages of this computer or over https. Upload a recording instead."), 3000));
  }
  window.addEventListener("unhandledrejection", (event) => /microphone/.test(event.reason) && event.preventDefault()); // is said

  // ---- what is being made: its pieces, one after another without a gap

  function stopStream() {
    toolbox.context?.close();
    toolbox.context = null;
  }

  toolbox.stream = async ({ run, pieces, stopped }) => {
    if (stopped) return stopStream();
    if (toolbox.run !== run) {
      silence();
      Object.assign(toolbox, { run, pieces: 0, heardAfter: null, end: 0, last: Promise.resolve(), context: new AudioContext() });
    }
    const context = toolbox.context;
    for (const url of pieces.slice(toolbox.pieces)) {
      toolbox.pieces += 1;
      const loaded = fetch(url).then((answer) => answer.arrayBuffer()).then((data) => context?.decodeAudioData(data));
      toolbox.last = toolbox.last.then(() => loaded).then((buffer) => {
        if (!context || context.state === "closed") return;
        const source = context.createBufferSource();
        source.buffer = buffer;
        source.connect(context.destination);
        const start = Math.max(context.currentTime + 0.05, toolbox.end);
        source.start(start);
        toolbox.end = start + buffer.duration;
        toolbox.heardAfter ??= toolbox.pieces; // pieces that were there when the first was heard
      }).catch(() => {}); // the sound was stopped meanwhile
    }
  };

  // Through a blob, as the name that the server sends would win over ours.
  toolbox.download = async ({ url, name, holds }) => {
    if (!url) return;
    const href = URL.createObjectURL(await (await fetch(url)).blob());
    const link = Object.assign(document.createElement("a"), { href, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    for (const each of holds) unsaved.delete(each), saved.add(each);
    setTimeout(() => URL.revokeObjectURL(href), 60000);
  };

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a.tb-link[download]");
    if (!link) return;
    event.preventDefault();
    toolbox.download({ url: link.href, name: link.download, holds: [link.dataset.holds] });
  });

  window.addEventListener("pagehide", () => silence());
})();
