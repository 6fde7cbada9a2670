// Command kubectl is Kubernetes' own. It is a program by itself because tests
// start it thousands of times: as a part of kube it would begin with all of it.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
)

func main() {
	os.Exit(cli.Run(cmd.NewDefaultKubectlCommand()))
}
