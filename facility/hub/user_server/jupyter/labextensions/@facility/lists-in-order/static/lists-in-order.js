// A prebuilt extension of JupyterLab, written by hand: it gives JupyterLab's services a `fetch`
// that never hands out a list of kernels, sessions or terminals after a newer answer.
//
// JupyterLab lets go of each of them that is missing in a list. Answers overtake each other on their
// way, and a list that was asked for before a kernel's start was answered may come after that.
(() => {
  const NAME = '@facility/lists-in-order';
  const SERVICES = '@jupyterlab/services';

  function inOrder(fetch, baseUrl) {
    // Requests are numbered; a list is out of date if its number is below that of `news`.
    let asked = 0;
    const news = { kernels: 0, sessions: 0, terminals: 0 };

    return async request => {
      const path = new URL(request.url).pathname.slice(new URL(baseUrl).pathname.length);
      const [, kind, rest] = /^api\/(kernels|sessions|terminals)(\/.*)?$/.exec(path) ?? [];
      if (kind === undefined) {
        return fetch(request);
      }
      if (request.method !== 'GET') {
        try {
          return await fetch(request);
        } finally {
          news.kernels = news.sessions = news.terminals = ++asked;
        }
      }
      for (;;) {
        const number = ++asked;
        const answer = await fetch(request.clone());
        if (rest || !answer.ok) {
          return answer;
        }
        const text = await answer.text();
        if (number >= news[kind]) {
          news[kind] = number;
          if (kind === 'sessions') {
            // It tells of kernels too.
            news.kernels = Math.max(news.kernels, number);
          }
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
