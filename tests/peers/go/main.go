// Command peer is the suite's client over go-spiffe; ../README.md tells its verbs.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/status"
)

const callDeadline = 30 * time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		say(map[string]any{"error": err.Error()})
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return errors.New("no verb; see the README beside")
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	verb, rest := arguments[0], arguments[1:]
	switch {
	case verb == "fetch-x509" && len(rest) == 0:
		return fetchX509(ctx)
	case verb == "watch-x509" && len(rest) == 0:
		return watchX509(ctx)
	case verb == "fetch-jwt" && len(rest) == 1:
		return fetchJWT(ctx, rest[0])
	case verb == "validate-jwt" && len(rest) == 2:
		return validateJWT(ctx, rest[0], rest[1])
	case verb == "serve" && len(rest) > 0:
		return serve(ctx, rest)
	case verb == "dial" && len(rest) == 0:
		return dial(ctx)
	}
	return fmt.Errorf("unknown verb or number of words: %q", arguments)
}

func say(line any) {
	// Lines of maps of text: these always encode, and a closed output ends the program by SIGPIPE.
	_ = json.NewEncoder(os.Stdout).Encode(line)
}

func describe(x509Context *workloadapi.X509Context) map[string]any {
	svids := []map[string]string{}
	for _, svid := range x509Context.SVIDs {
		svids = append(svids, map[string]string{
			"id": svid.ID.String(), "serial": fmt.Sprintf("%x", svid.Certificates[0].SerialNumber), "hint": svid.Hint,
		})
	}
	bundles := map[string]int{}
	for _, bundle := range x509Context.Bundles.Bundles() {
		bundles[bundle.TrustDomain().Name()] = len(bundle.X509Authorities())
	}
	return map[string]any{"svids": svids, "bundles": bundles}
}

func fetchX509(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	x509Context, err := workloadapi.FetchX509Context(ctx)
	if err != nil {
		return err
	}
	say(describe(x509Context))
	return nil
}

type watcher struct{}

func (watcher) OnX509ContextUpdate(x509Context *workloadapi.X509Context) { say(describe(x509Context)) }

func (watcher) OnX509ContextWatchError(err error) {
	say(map[string]any{"error": status.Code(err).String()})
}

func watchX509(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		untilInputEnds()
		cancel()
	}()
	err := workloadapi.WatchX509Context(ctx, watcher{})
	if errors.Is(err, context.Canceled) || ctx.Err() != nil {
		return nil
	}
	return err
}

func fetchJWT(ctx context.Context, audience string) error {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	svid, err := workloadapi.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience})
	if err != nil {
		return err
	}
	say(map[string]string{"id": svid.ID.String(), "token": svid.Marshal()})
	return nil
}

// validateJWT checks with the library against the JWT bundles, and asks the Workload API too: both must agree.
func validateJWT(ctx context.Context, audience, token string) error {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	bundles, err := workloadapi.FetchJWTBundles(ctx)
	if err != nil {
		return err
	}
	here, err := jwtsvid.ParseAndValidate(token, bundles, []string{audience})
	if err != nil {
		return err
	}
	there, err := workloadapi.ValidateJWTSVID(ctx, token, audience)
	if err != nil {
		return err
	}
	if here.ID != there.ID {
		return fmt.Errorf("the library says %s, the Workload API says %s", here.ID, there.ID)
	}
	say(map[string]string{"id": here.ID.String()})
	return nil
}

func source(ctx context.Context) (*workloadapi.X509Source, error) {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	return workloadapi.NewX509Source(ctx)
}

func serve(ctx context.Context, ids []string) error {
	clients := []spiffeid.ID{}
	for _, id := range ids {
		client, err := spiffeid.FromString(id)
		if err != nil {
			return err
		}
		clients = append(clients, client)
	}
	x509Source, err := source(ctx)
	if err != nil {
		return err
	}
	defer x509Source.Close()
	configuration := tlsconfig.MTLSServerConfig(x509Source, x509Source, tlsconfig.AuthorizeOneOf(clients...))
	listener, err := tls.Listen("tcp", "127.0.0.1:0", configuration)
	if err != nil {
		return err
	}
	say(map[string]int{"port": listener.Addr().(*net.TCPAddr).Port})
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go echo(connection.(*tls.Conn))
		}
	}()
	untilInputEnds()
	return listener.Close()
}

func echo(connection *tls.Conn) {
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(callDeadline))
	if err := connection.Handshake(); err != nil {
		say(map[string]string{"error": err.Error()})
		return
	}
	say(map[string]string{"peer": peerOf(connection)})
	lines := bufio.NewScanner(connection)
	for lines.Scan() {
		if _, err := fmt.Fprintln(connection, lines.Text()); err != nil {
			return
		}
	}
}

func dial(ctx context.Context) error {
	x509Source, err := source(ctx)
	if err != nil {
		return err
	}
	defer x509Source.Close()
	peers := bufio.NewScanner(os.Stdin)
	for peers.Scan() {
		peer, answer, err := ask(peers.Text(), x509Source)
		if err != nil {
			say(map[string]string{"error": err.Error()})
			continue
		}
		say(map[string]string{"peer": peer, "answer": answer})
	}
	return peers.Err()
}

func ask(line string, x509Source *workloadapi.X509Source) (string, string, error) {
	address, id, _ := strings.Cut(line, " ")
	server, err := spiffeid.FromString(id)
	if err != nil {
		return "", "", err
	}
	configuration := tlsconfig.MTLSClientConfig(x509Source, x509Source, tlsconfig.AuthorizeID(server))
	connection, err := tls.DialWithDialer(&net.Dialer{Timeout: callDeadline}, "tcp", address, configuration)
	if err != nil {
		return "", "", err
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(callDeadline))
	if _, err := fmt.Fprintln(connection, "hello from go"); err != nil {
		return "", "", err
	}
	answer := bufio.NewScanner(connection)
	if !answer.Scan() {
		return "", "", fmt.Errorf("no answer: %w", errors.Join(answer.Err(), errors.New("the connection ended")))
	}
	return peerOf(connection), answer.Text(), nil
}

func peerOf(connection *tls.Conn) string {
	id, err := x509svid.IDFromCert(connection.ConnectionState().PeerCertificates[0])
	if err != nil {
		return err.Error()
	}
	return id.String()
}

func untilInputEnds() {
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
	}
}
