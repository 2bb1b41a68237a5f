package org.mlpipeline.cps

/** JUnit category of the tests that start the real worker: minutes, not seconds. */
interface RealWorker {
}
