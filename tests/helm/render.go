// Renders a Helm chart as `helm template` does: Go's templates with sprig and the few functions that Helm adds.
// Reads {"templates": {name: text}, "context": {...}, "apis": [...], "objects": {...}} from stdin; writes {name: text} to stdout.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"github.com/ghodss/yaml"
)

type apiVersions []string

func (versions apiVersions) Has(wanted string) bool {
	for _, version := range versions {
		if version == wanted {
			return true
		}
	}
	return false
}

type request struct {
	Templates map[string]string
	Context   map[string]interface{}
	APIs      apiVersions
	Objects   map[string]interface{}
}

func functions(whole *template.Template, asked request) template.FuncMap {
	known := sprig.TxtFuncMap()
	delete(known, "env")
	delete(known, "expandenv")
	known["toYaml"] = func(value interface{}) (string, error) {
		text, err := yaml.Marshal(value)
		return strings.TrimSuffix(string(text), "\n"), err
	}
	known["include"] = func(name string, data interface{}) (string, error) {
		var text strings.Builder
		err := whole.ExecuteTemplate(&text, name, data)
		return text.String(), err
	}
	known["required"] = func(message string, value interface{}) (interface{}, error) {
		if value == nil || value == "" {
			return nil, errors.New(message)
		}
		return value, nil
	}
	known["lookup"] = func(version, kind, namespace, name string) map[string]interface{} {
		found, _ := asked.Objects[strings.Join([]string{version, kind, namespace, name}, "/")].(map[string]interface{})
		return found
	}
	return known
}

func render(asked request) (map[string]string, error) {
	whole := template.New("chart").Option("missingkey=zero")
	whole.Funcs(functions(whole, asked))
	for name, text := range asked.Templates {
		if _, err := whole.New(name).Parse(text); err != nil {
			return nil, err
		}
	}
	asked.Context["Capabilities"] = map[string]interface{}{"APIVersions": asked.APIs}
	rendered := map[string]string{}
	for name := range asked.Templates {
		if strings.HasPrefix(name[strings.LastIndex(name, "/")+1:], "_") {
			continue
		}
		var text strings.Builder
		if err := whole.ExecuteTemplate(&text, name, asked.Context); err != nil {
			return nil, err
		}
		rendered[name] = strings.ReplaceAll(text.String(), "<no value>", "")
	}
	return rendered, nil
}

func main() {
	var asked request
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	rendered, err := render(asked)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(rendered)
}
