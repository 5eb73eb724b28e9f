// Serves the function in package function over HTTP, on the loopback port that the watchdog names in PORT.
package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"handler/function"
)

func main() {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8082"
	}
	// The watchdog keeps the deadlines: of a request's head and body, and of the function.
	server := &http.Server{
		Addr:           net.JoinHostPort("127.0.0.1", port),
		Handler:        http.HandlerFunc(handle),
		MaxHeaderBytes: 1 << 20,
	}

	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	stopped := make(chan struct{})
	go func() {
		<-stop.Done()
		if err := server.Shutdown(context.Background()); err != nil {
			log.Print(err)
		}
		close(stopped)
	}()

	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	<-stopped
}

// handle answers a panic with 500, and says why in the log; an answer that has begun is cut.
func handle(w http.ResponseWriter, r *http.Request) {
	answer := &answer{ResponseWriter: w}
	defer func() {
		fault := recover()
		if fault == nil {
			return
		}
		if fault != http.ErrAbortHandler {
			log.Printf("the handler failed: %v\n%s", fault, debug.Stack())
		}
		if fault == http.ErrAbortHandler || answer.begun {
			panic(http.ErrAbortHandler)
		}
		for name := range w.Header() {
			w.Header().Del(name)
		}
		http.Error(w, "the handler failed; its log says why", http.StatusInternalServerError)
	}()
	function.Handle(answer, r)
}

// answer knows whether anything of it may have been sent.
type answer struct {
	http.ResponseWriter
	begun bool
}

func (a *answer) WriteHeader(status int) {
	a.begun = a.begun || status >= 200 || status == http.StatusSwitchingProtocols
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(data []byte) (int, error) {
	a.begun = true
	return a.ResponseWriter.Write(data)
}

func (a *answer) ReadFrom(source io.Reader) (int64, error) {
	a.begun = true
	return io.Copy(a.ResponseWriter, source)
}

func (a *answer) Flush() {
	a.begun = true
	a.ResponseWriter.(http.Flusher).Flush()
}

func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	a.begun = true
	return a.ResponseWriter.(http.Hijacker).Hijack()
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter {
	return a.ResponseWriter
}
