package org.mlpipeline

/** A body on leased GPUs: they are checked before it, and metered while it runs, however it ends. */
class Metered implements Serializable {

    private static final long serialVersionUID = 1L

    final Object steps
    final Map args
    final String devices
    final int count

    Metered(Object steps, Map args, String devices, int count) {
        this.steps = steps
        this.args = args
        this.devices = devices
        this.count = count
    }

    Map during(Closure body) {
        Map usage = [devices: devices]
        steps.withEnv(["CUDA_VISIBLE_DEVICES=${devices}", "MLPIPELINE_GPUS=${devices}", 'CUDA_DEVICE_ORDER=PCI_BUS_ID']) {
            // Beside the workspace: a checkout that cleans must not take the meter's numbers along.
            String meter = "${steps.pwd(tmp: true)}/mlpipeline-gpu-${UUID.randomUUID()}"
            checked(meter)
            long began = System.currentTimeMillis()
            Throwable stopped = Guard.ended { usage.value = body() }
            usage.seconds = (int) ((System.currentTimeMillis() - began) / 1000)
            usage.gpu_seconds = usage.seconds * count
            Throwable late = Guard.ended { usage.putAll(used(meter)) }
            stopped = stopped ?: late
            if (stopped != null) {
                throw stopped
            }
        }
        return usage
    }

    void checked(String meter) {
        Map needed = [devices: devices, count: count, meter: meter] + (args.memory ? [memory: args.memory] : [:])
        String refusal = Words.refusal(asked(needed, [10, 11]))
        if (refusal) {
            steps.error("mlGpu: ${refusal}")
        }
    }

    /** What the meter saw. The body is done: nothing that is wrong here may undo it. */
    Map used(String meter) {
        Map told = [:]
        try {
            told = asked([metered: meter], [3, 10, 11])
        } catch (InterruptedException stopped) {
            throw stopped
        } catch (Exception problem) {
            told = [summary: "the meter cannot be read: ${problem.message}"]
        }
        steps.echo("mlGpu: ${devices}: ${told.summary}")
        return Words.metered(told)
    }

    Map asked(Map options, List allowed) {
        return steps.mlWorker(Keys.forWorker(args, false) + [verb: 'doctor-gpu', args: options, allow: allowed, retries: 0])
    }
}
