// A prebuilt extension of JupyterLab, written by hand: the facility's documentation, which the hub
// serves, in the help menu and in the launcher.
(() => {
  const NAME = '@facility/documentation';
  const COMMAND = 'facility:documentation';
  const LABEL = 'Facility Documentation';

  let shared;
  const ofLab = async name => {
    const [module] = Object.values(shared[name]);
    return (await module.get())();
  };

  window._JUPYTERLAB ??= {};
  window._JUPYTERLAB[NAME] = {
    init: scope => {
      shared = scope;
    },
    get: async () => {
      const { PageConfig } = await ofLab('@jupyterlab/coreutils');
      const { IMainMenu } = await ofLab('@jupyterlab/mainmenu');
      const { ILauncher } = await ofLab('@jupyterlab/launcher');
      const { infoIcon } = await ofLab('@jupyterlab/ui-components');
      const plugin = {
        id: `${NAME}:plugin`,
        description: 'The facility\u2019s documentation in the help menu and the launcher.',
        autoStart: true,
        optional: [IMainMenu, ILauncher],
        activate: (app, menu, launcher) => {
          const address = PageConfig.getOption('facilityDocumentation');
          if (!address) {
            return;
          }
          app.commands.addCommand(COMMAND, {
            // A card has room for thirteen letters a line.
            label: args => (args.isLauncher ? 'Facility Docs' : LABEL),
            caption: 'How to work with the facility, in another tab',
            icon: args => (args.isLauncher ? infoIcon : undefined),
            execute: () => window.open(PageConfig.getOption('hubHost') + address, '_blank', 'noopener')
          });
          menu?.helpMenu.addGroup([{ command: COMMAND }], -1);
          launcher?.add({ command: COMMAND, category: 'Other', rank: 0, args: { isLauncher: true } });
        }
      };
      return () => ({ __esModule: true, default: plugin });
    }
  };
})();
