// Command apiserver is the control plane of Kubernetes for tests, in one program: kube-apiserver with etcd inside, or
// kube-controller-manager. They are what their own main functions start, unchanged.
//
//	apiserver kube-apiserver --etcd-directory=DIR [flags of kube-apiserver]
//	apiserver kube-controller-manager [flags of kube-controller-manager]
//
// Each is a process of its own, because both have feature gates, flags and metrics that are global. It ends by SIGTERM, and when its
// standard input does, so that nothing outlives the test that started it, however that ended.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	_ "time/tzdata" // Time zones of CronJobs, which are checked by the server.

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // The log format "json".
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // Metrics of the clients inside.
	_ "k8s.io/component-base/metrics/prometheus/version"  // The metric of the version.
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

const usage = `usage: apiserver kube-apiserver --etcd-directory=DIR [FLAG...]
       apiserver kube-controller-manager [FLAG...]`

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(arguments []string) int {
	if len(arguments) > 0 {
		switch flags := arguments[1:]; arguments[0] {
		case "kube-apiserver":
			if len(flags) > 0 {
				if directory, is := strings.CutPrefix(flags[0], "--etcd-directory="); is {
					return serve(directory, flags[1:])
				}
			}
		case "kube-controller-manager":
			go endWithInput()
			command := controllermanager.NewControllerManagerCommand()
			command.SetArgs(flags)
			return cli.Run(command)
		}
	}
	fmt.Fprintln(os.Stderr, usage)
	return 2
}

// serve runs etcd, and kube-apiserver until it ends.
func serve(directory string, flags []string) int {
	store, err := startStore(directory)
	if err != nil {
		fmt.Fprintf(os.Stderr, "etcd in %s does not start: %v\n", directory, err)
		return 1
	}
	go endWithStore(store)
	go endWithInput()
	command := apiserver.NewAPIServerCommand()
	command.SetArgs(append(flags, "--etcd-servers=http://"+store.Clients[0].Addr().String()))
	code := cli.Run(command)
	store.Close()
	return code
}

// endWithInput asks this process to end as soon as nobody holds the other end of its standard input.
func endWithInput() {
	// An error ends it as the end of the input does: whoever started it can say nothing more.
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		os.Exit(1)
	}
}
