package main

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
)

// plugins by the names that they are started by.
var plugins = map[string]func(){
	"delegating": func() {
		funcs := skel.CNIFuncs{
			Add: delegateAdd, Del: delegate(invoke.DelegateDel), Check: delegate(invoke.DelegateCheck),
			GC: delegate(invoke.DelegateGC), Status: delegate(invoke.DelegateStatus),
		}
		skel.PluginMainFuncs(funcs, version.All, "hands everything to the plugin in `delegate`")
	},
	"telling": func() {
		nothing := func(*skel.CmdArgs) error { return nil }
		funcs := skel.CNIFuncs{Add: tell, Del: nothing, Check: nothing, GC: nothing, Status: nothing}
		skel.PluginMainFuncs(funcs, version.All, "makes nothing, and answers with `tells`")
	},
}

// delegated is the delegate's name and its configuration: name, version and whatever else the library put into ours go along.
func delegated(args *skel.CmdArgs) (string, []byte, error) {
	var own map[string]any
	if err := json.Unmarshal(args.StdinData, &own); err != nil {
		return "", nil, err
	}
	config, ok := own["delegate"].(map[string]any)
	if !ok {
		return "", nil, types.NewError(types.ErrInvalidNetworkConfig, "there is no `delegate`", "")
	}
	plugin, ok := config["type"].(string)
	if !ok {
		return "", nil, types.NewError(types.ErrInvalidNetworkConfig, "`delegate` has no `type`", "")
	}
	delete(own, "delegate")
	delete(own, "type")
	for key, value := range own {
		config[key] = value
	}
	bytes, err := json.Marshal(config)
	return plugin, bytes, err
}

func delegateAdd(args *skel.CmdArgs) error {
	plugin, config, err := delegated(args)
	if err != nil {
		return err
	}
	result, err := invoke.DelegateAdd(context.Background(), plugin, config, nil)
	if err != nil {
		// as the specification has it: what fails to be added is deleted
		var told *types.Error
		undone := invoke.DelegateDel(context.Background(), plugin, config, nil)
		if undone != nil && errors.As(err, &told) {
			told.Details += "; DEL after it: " + undone.Error()
		}
		return err
	}
	return types.PrintResult(result, result.Version())
}

type delegateFunc func(context.Context, string, []byte, invoke.Exec) error

func delegate(verb delegateFunc) func(*skel.CmdArgs) error {
	return func(args *skel.CmdArgs) error {
		plugin, config, err := delegated(args)
		if err != nil {
			return err
		}
		return verb(context.Background(), plugin, config, nil)
	}
}

func tell(args *skel.CmdArgs) error {
	var config struct {
		types.PluginConf
		Tells types100.Result `json:"tells"`
	}
	if err := json.Unmarshal(args.StdinData, &config); err != nil {
		return err
	}
	return types.PrintResult(&config.Tells, config.CNIVersion)
}
