package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// startLimit is how long etcd may take until it serves; a machine that compiles beside it needs seconds.
const startLimit = time.Minute

// startStore runs an etcd of one member on loopback, on ports that the kernel chooses, with its data in the directory.
func startStore(directory string) (*embed.Etcd, error) {
	// Nobody dials the URLs that it advertises: it is alone, and its one client is told the port that it got.
	anyPort := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	config := embed.NewConfig()
	config.Dir = directory
	config.LogLevel = "warn"
	config.ListenClientUrls, config.AdvertiseClientUrls = anyPort, anyPort
	config.ListenPeerUrls, config.AdvertisePeerUrls = anyPort, anyPort
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	// The gateway dials the URL of the configuration, and nobody speaks to it.
	config.EnableGRPCGateway = false
	// What is written outlives this process, if not the machine: that is all that a test asks for.
	config.UnsafeNoFsync = true
	store, err := embed.StartEtcd(config)
	if err != nil {
		return nil, err
	}
	select {
	case <-store.Server.ReadyNotify():
		return store, nil
	case <-store.Server.StopNotify():
		err = errors.New("it stopped by itself")
	case err = <-store.Err():
	case <-time.After(startLimit):
		err = fmt.Errorf("it was not ready within %s", startLimit)
	}
	store.Close()
	return nil, err
}

// endWithStore ends this process when etcd fails, whose errors end with its closing.
func endWithStore(store *embed.Etcd) {
	if err, is := <-store.Err(); is {
		fmt.Fprintf(os.Stderr, "etcd failed: %v\n", err)
		os.Exit(1)
	}
}
