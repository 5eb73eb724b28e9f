// Serves the function in package function over HTTP, on the loopback port that the watchdog names in PORT.
package main

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
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
		Handler:        http.HandlerFunc(function.Handle),
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
