// Command libcni calls CNI plugins as a container runtime does: through the reference library, whose types read the answers.
// A request is JSON on standard input, the answer JSON on standard output. Started by the name of one of the plugins in
// plugins.go it is that plugin.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

// request is one call of the library.
type request struct {
	Verb string `json:"verb"`
	// Path has the folders of the plugins.
	Path []string `json:"path"`
	// Cache is where the library keeps results.
	Cache string `json:"cache"`
	// List is a network configuration list, as a file of a runtime's folder has it.
	List         json.RawMessage `json:"list"`
	ContainerID  string          `json:"containerID"`
	NetNS        string          `json:"netns"`
	IfName       string          `json:"ifname"`
	Args         [][2]string     `json:"args"`
	Capabilities map[string]any  `json:"capabilities"`
	// GC is what the runtime still knows; none: it does not say.
	GC *libcni.GCArgs `json:"gc"`
}

// answer is what came of it.
type answer struct {
	// Result as the library's type of its version has it, the name of that type, and the result in every version of CNI.
	Result types.Result            `json:"result,omitempty"`
	Type   string                  `json:"type,omitempty"`
	As     map[string]types.Result `json:"as,omitempty"`
	// Versions that each plugin says it supports.
	Versions map[string][]string `json:"versions,omitempty"`
	// Capabilities that the list's plugins have between them.
	Capabilities []string `json:"capabilities,omitempty"`
	// Calls of plugins, in order.
	Calls []call   `json:"calls"`
	Error *failure `json:"error,omitempty"`
}

// call is one start of a plugin.
type call struct {
	Plugin string          `json:"plugin"`
	Verb   string          `json:"verb"`
	Input  json.RawMessage `json:"input"`
	Output string          `json:"output"`
}

// failure is an error; without a code it is the library's own.
type failure struct {
	Text    string `json:"text"`
	Code    *uint  `json:"code,omitempty"`
	Msg     string `json:"msg,omitempty"`
	Details string `json:"details,omitempty"`
}

// recorder starts plugins and keeps what went in and came out.
type recorder struct {
	invoke.RawExec
	version.PluginDecoder
	calls []call
}

func (r *recorder) ExecPlugin(ctx context.Context, path string, input []byte, environ []string) ([]byte, error) {
	verb := ""
	for _, variable := range environ {
		// the last one counts
		fmt.Sscanf(variable, "CNI_COMMAND=%s", &verb)
	}
	output, err := r.RawExec.ExecPlugin(ctx, path, input, environ)
	r.calls = append(r.calls, call{Plugin: filepath.Base(path), Verb: verb, Input: input, Output: string(output)})
	return output, err
}

func main() {
	if plugin, ok := plugins[filepath.Base(os.Args[0])]; ok {
		plugin()
		return
	}
	var asked request
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		fmt.Fprintln(os.Stderr, "the request cannot be read:", err)
		os.Exit(2)
	}
	exec := &recorder{RawExec: invoke.RawExec{Stderr: os.Stderr}, calls: []call{}}
	var said answer
	if err := serve(exec, asked, &said); err != nil {
		said.Error = failed(err)
	}
	said.Calls = exec.calls
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		fmt.Fprintln(os.Stderr, "the answer cannot be written:", err)
		os.Exit(2)
	}
}

func serve(exec *recorder, asked request, said *answer) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	list, err := libcni.NetworkConfFromBytes(asked.List)
	if err != nil {
		return err
	}
	cni := libcni.NewCNIConfigWithCacheDir(asked.Path, asked.Cache, exec)
	runtime := &libcni.RuntimeConf{
		ContainerID: asked.ContainerID, NetNS: asked.NetNS, IfName: asked.IfName,
		Args: asked.Args, CapabilityArgs: asked.Capabilities,
	}
	switch asked.Verb {
	case "ADD":
		result, err := cni.AddNetworkList(ctx, list, runtime)
		if err != nil {
			return err
		}
		return said.tell(result)
	case "CHECK":
		return cni.CheckNetworkList(ctx, list, runtime)
	case "DEL":
		return cni.DelNetworkList(ctx, list, runtime)
	case "GC":
		return cni.GCNetworkList(ctx, list, asked.GC)
	case "STATUS":
		return cni.GetStatusNetworkList(ctx, list)
	case "VALIDATE":
		said.Capabilities, err = cni.ValidateNetworkList(ctx, list)
		return err
	case "VERSION":
		said.Versions = map[string][]string{}
		for _, plugin := range list.Plugins {
			info, err := cni.GetVersionInfo(ctx, plugin.Network.Type)
			if err != nil {
				return err
			}
			said.Versions[plugin.Network.Type] = info.SupportedVersions()
		}
		return nil
	}
	return fmt.Errorf("no verb %q", asked.Verb)
}

func (a *answer) tell(result types.Result) error {
	a.Result, a.Type, a.As = result, fmt.Sprintf("%T", result), map[string]types.Result{}
	for _, wanted := range version.All.SupportedVersions() {
		converted, err := result.GetAsVersion(wanted)
		if err != nil {
			return fmt.Errorf("the result in version %s: %w", wanted, err)
		}
		a.As[wanted] = converted
	}
	return nil
}

func failed(err error) *failure {
	told := &failure{Text: err.Error()}
	var plugins *types.Error
	if errors.As(err, &plugins) {
		told.Code, told.Msg, told.Details = &plugins.Code, plugins.Msg, plugins.Details
	}
	return told
}
