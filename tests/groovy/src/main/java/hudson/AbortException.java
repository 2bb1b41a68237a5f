package hudson;

import java.io.IOException;

/** What most steps throw when they fail; the name is the one scripts see on a controller. */
public class AbortException extends IOException {
    private static final long serialVersionUID = 1L;

    public AbortException(String message) {
        super(message);
    }
}
