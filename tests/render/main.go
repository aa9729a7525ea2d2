// Command render prints what the manifests of this repository come to, one object of Kubernetes a line, as JSON.
//
//	render kustomize DIRECTORY
//	render helm CHART NAMESPACE [VALUES-FILE...]
//
// It renders with the libraries of kustomize and Helm, so that nobody needs either program; nothing is fetched and no cluster is asked.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const usage = `usage: render kustomize DIRECTORY
       render helm CHART NAMESPACE [VALUES-FILE...]`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	var text []byte
	var err error
	switch {
	case len(arguments) == 2 && arguments[0] == "kustomize":
		text, err = kustomized(arguments[1])
	case len(arguments) >= 3 && arguments[0] == "helm":
		text, err = charted(arguments[1], arguments[2], arguments[3:])
	default:
		err = fmt.Errorf("%s", usage)
	}
	if err != nil {
		return err
	}
	return printObjects(text)
}

// kustomized is what `kustomize build` prints.
func kustomized(directory string) ([]byte, error) {
	objects, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), directory)
	if err != nil {
		return nil, err
	}
	return objects.AsYaml()
}

// charted is what `helm template signet CHART --namespace NAMESPACE --values FILE...` prints. A value that a template names and nobody gave is an error.
func charted(directory, namespace string, files []string) ([]byte, error) {
	chart, err := loader.Load(directory)
	if err != nil {
		return nil, err
	}
	values := map[string]any{}
	for _, file := range files {
		further, err := common.ReadValuesFile(file)
		if err != nil {
			return nil, err
		}
		values = loader.MergeMaps(values, further)
	}
	release := common.ReleaseOptions{Name: "signet", Namespace: namespace, Revision: 1, IsInstall: true}
	all, err := util.ToRenderValues(chart, values, release, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	rendered, err := engine.Engine{Strict: true}.Render(chart, all)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(rendered)) {
		if path.Ext(name) == ".yaml" {
			fmt.Fprintf(&text, "---\n%s\n", rendered[name])
		}
	}
	return text.Bytes(), nil
}

// printObjects prints each document that has anything in it.
func printObjects(text []byte) error {
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), len(text)+1)
	for {
		var object map[string]any
		if err := documents.Decode(&object); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if object == nil {
			continue
		}
		line, err := json.Marshal(object)
		if err != nil {
			return err
		}
		fmt.Println(string(line))
	}
}
