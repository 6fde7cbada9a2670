// A prebuilt extension of JupyterLab, written by hand: it gives JupyterLab's services a `fetch`
// that never hands out a list of kernels or sessions after a newer answer.
//
// JupyterLab lets go of each kernel that is missing in a list. Answers overtake each other on their
// way, and a list that was asked for before a kernel's start was answered may come after that.
(() => {
  const NAME = '@facility/kernel-lists';
  const SERVICES = '@jupyterlab/services';

  function inOrder(fetch, baseUrl) {
    // What was asked when, in numbers that grow; a list asked for before `since` is out of date.
    let asked = 0;
    const since = { kernels: 0, sessions: 0 };

    return async request => {
      const path = new URL(request.url).pathname.slice(new URL(baseUrl).pathname.length);
      const [, kind, rest] = /^api\/(kernels|sessions)(\/.*)?$/.exec(path) ?? [];
      if (kind === undefined) {
        return fetch(request);
      }
      if (request.method !== 'GET') {
        try {
          return await fetch(request);
        } finally {
          since.kernels = since.sessions = ++asked;
        }
      }
      for (;;) {
        const number = ++asked;
        const answer = await fetch(request.clone());
        if (rest || !answer.ok) {
          return answer;
        }
        const text = await answer.text();
        if (number >= since[kind]) {
          since[kind] = number;
          const whole = new Response(text, answer);
          // Read at once, so that nothing comes in between.
          whole.json = async () => JSON.parse(text);
          return whole;
        }
      }
    };
  }

  let shared;
  window._JUPYTERLAB ??= {};
  window._JUPYTERLAB[NAME] = {
    init: scope => {
      shared = scope;
    },
    get: async () => {
      const [services] = Object.values(shared[SERVICES]);
      const { IServerSettings, ServerConnection } = (await services.get())();
      const plugin = {
        id: `${NAME}:server-settings`,
        description: 'How JupyterLab talks to its server: lists of kernels in order.',
        autoStart: true,
        provides: IServerSettings,
        activate: () => {
          const usual = ServerConnection.makeSettings();
          return { ...usual, fetch: inOrder(usual.fetch.bind(null), usual.baseUrl) };
        }
      };
      return () => ({ __esModule: true, default: plugin });
    }
  };
})();
